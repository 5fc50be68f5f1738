"""Restriction of score tables of the same data to their common rows, in one order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from offnormal.errors import DataError
from offnormal.evaluation.table import ItemRow, ScoreTable
from offnormal.evaluation.units import TRAITS
from offnormal.metrics.video import LOST

BLOCKS = 20  # stretches of time to draw instead of videos if there is only one video


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnUnits:
    """Units of a bootstrap: whole videos, groups, or originals, never single frames."""

    number: NDArray[np.int64]  # (R,) unit of each row; -1: not used by metrics
    count: int
    noun: str  # plural, for messages

    def rows(self) -> list[NDArray[np.intp]]:
        """Rows of each unit."""
        order = np.argsort(self.number, kind="stable")
        ends = np.searchsorted(self.number[order], np.arange(self.count + 1))
        return [order[start:stop] for start, stop in pairwise(ends)]


def common_tables(tables: Sequence[ScoreTable], names: Sequence[str]) -> list[ScoreTable]:
    """Restrict tables to their common rows, with the items of the first, and scores only where all have one.

    names: names of the tables, for messages. Raises DataError without a common scored row, and for different labels.
    """
    keyed = [_keys(table) for table in tables]
    shared = set.intersection(*map(set, keyed))
    order = [key for key in keyed[0] if key in shared]
    rows = [np.array([table_rows[key] for key in order], np.int64) for table_rows in keyed]
    scored = np.all([table.scored[row] for table, row in zip(tables, rows, strict=True)], axis=0)
    if not np.any(scored):
        noun = TRAITS[tables[0].unit].noun[0]
        raise DataError(f"{', '.join(names)}: no {noun} with a score in every run; expected common {noun}s")
    labels = tables[0].label[rows[0]]
    for table, row, name in zip(tables[1:], rows[1:], names[1:], strict=True):
        same = (table.label[row] == labels) | (np.isnan(table.label[row]) & np.isnan(labels))
        if not same.all():
            item, frame = order[int(np.argmin(same))]
            position = f"frame {frame} of {item}" if frame >= 0 else item
            raise DataError(
                f"{name}: the label of {position} is different from {names[0]}; expected equal labels: "
                "run offnormal evaluate again"
            )
    items = _items(tables[0], rows[0])
    return [_restrict(table, row, items, scored) for table, row in zip(tables, rows, strict=True)]


def drawn_units(table: ScoreTable) -> DrawnUnits:
    """Choose the units of a bootstrap over a table: its videos, the groups of its items, or the items."""
    traits, is_video = TRAITS[table.unit], table.unit.is_per_frame
    rows = np.flatnonzero(table.labeled)
    number = np.full(len(table), -1)
    names = table.item_column(lambda item: item.name)
    noun = traits.item[1]
    if not is_video and any(item.group for item in table.items):
        names, noun = table.item_column(lambda item: item.group or item.name), traits.group
    if rows.size:
        _, number[rows] = np.unique([names[row] for row in rows], return_inverse=True)
    count = int(number.max(initial=-1)) + 1
    if is_video and count == 1 and rows.size >= BLOCKS:
        number[rows] = np.arange(rows.size) * BLOCKS // rows.size
        noun = f"stretches of equal length of the one video {names[rows[0]]}"
        return DrawnUnits(number=number, count=BLOCKS, noun=noun)
    return DrawnUnits(number=number, count=count, noun=noun)


def _keys(table: ScoreTable) -> dict[tuple[str, int], int]:
    """(item, frame) -> row."""
    return {
        (item.name, int(table.frame[row])): row
        for item in table.items
        for row in range(item.rows.start, item.rows.stop)
    }


def _items(table: ScoreTable, rows: NDArray[np.int64]) -> tuple[ItemRow, ...]:
    """Items of some rows (n,) of a table, in order, with their new row numbers."""
    items = []
    for item in table.items:
        start, stop = np.searchsorted(rows, [item.rows.start, item.rows.stop])
        if stop > start:
            restarts = np.searchsorted(rows[start:stop], [item.rows.start + frame for frame in item.restarts])
            items.append(replace(item, rows=slice(int(start), int(stop)), restarts=tuple(restarts.tolist())))
    return tuple(items)


def _restrict(
    table: ScoreTable, rows: NDArray[np.int64], items: tuple[ItemRow, ...], scored: NDArray[np.bool_]
) -> ScoreTable:
    lost = table.lost
    return ScoreTable(
        unit=table.unit,
        items=items,
        frame=table.frame[rows],
        time_s=table.time_s[rows],
        label=table.label[rows],
        score=np.where(scored, table.score[rows], np.nan),
        p_value=table.p_value[rows],
        verdict=table.verdict[rows],
        reason=tuple((at, at + 1, LOST) for at, row in enumerate(rows.tolist()) if row in lost),
    )
