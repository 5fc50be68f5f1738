"""Score tables of the same data restricted to the rows that all of them have, in one order."""

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

BLOCKS = 20  # stretches of time that stand for the videos where there is one video only


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnUnits:
    """What a bootstrap draws: whole videos, groups, or originals, never single frames."""

    number: NDArray[np.int64]  # (R,) unit that each row is drawn with; -1 for rows that metrics do not rest on
    count: int
    noun: str  # in words
    are_videos: bool

    def rows(self) -> list[NDArray[np.intp]]:
        """The rows of each unit."""
        order = np.argsort(self.number, kind="stable")
        ends = np.searchsorted(self.number[order], np.arange(self.count + 1))
        return [order[start:stop] for start, stop in pairwise(ends)]


def common_tables(tables: Sequence[ScoreTable], names: Sequence[str]) -> list[ScoreTable]:
    """The tables restricted to the rows that all have, with the items of the first and a score where all have one.

    names: of the tables, for messages. Raises DataError where they share no scored row, or differ in a label.
    """
    keyed = [_keys(table) for table in tables]
    shared = set.intersection(*map(set, keyed))
    order = [key for key in keyed[0] if key in shared]
    rows = [np.array([of_table[key] for key in order], np.int64) for of_table in keyed]
    scored = np.all([table.scored[own] for table, own in zip(tables, rows, strict=True)], axis=0)
    if not np.any(scored):
        noun = TRAITS[tables[0].unit].noun[0]
        raise DataError(f"{', '.join(names)}: no {noun} was scored by every run, so there is nothing to compare")
    labels = tables[0].label[rows[0]]
    for table, own, name in zip(tables[1:], rows[1:], names[1:], strict=True):
        same = (table.label[own] == labels) | (np.isnan(table.label[own]) & np.isnan(labels))
        if not same.all():
            item, frame = order[int(np.argmin(same))]
            where = f"frame {frame} of {item}" if frame >= 0 else item
            raise DataError(
                f"{name}: {where} has another label than in {names[0]}, though the data are the same: one of the two "
                "was edited; run offnormal evaluate again"
            )
    items = _items(tables[0], rows[0])
    return [_restricted(table, own, items, scored) for table, own in zip(tables, rows, strict=True)]


def drawn_units(table: ScoreTable) -> DrawnUnits:
    """What a bootstrap over a table draws: its videos, or the groups of its items, or the items."""
    traits, of_videos = TRAITS[table.unit], table.unit.is_per_frame
    known = np.flatnonzero(table.labeled)
    number = np.full(len(table), -1)
    names = table.item_column(lambda item: item.name)
    noun = traits.item[1]
    if not of_videos and any(item.group for item in table.items):
        names, noun = table.item_column(lambda item: item.group or item.name), traits.group
    if known.size:
        _, number[known] = np.unique([names[row] for row in known], return_inverse=True)
    count = int(number.max(initial=-1)) + 1
    if of_videos and count == 1 and known.size >= BLOCKS:
        number[known] = np.arange(known.size) * BLOCKS // known.size
        noun = f"stretches of equal length of the one video {names[known[0]]}"
        return DrawnUnits(number=number, count=BLOCKS, noun=noun, are_videos=False)
    return DrawnUnits(number=number, count=count, noun=noun, are_videos=of_videos and count > 1)


def _keys(table: ScoreTable) -> dict[tuple[str, int], int]:
    """(item, frame) -> row."""
    return {
        (item.name, int(table.frame[row])): row
        for item in table.items
        for row in range(item.rows.start, item.rows.stop)
    }


def _items(table: ScoreTable, rows: NDArray[np.int64]) -> tuple[ItemRow, ...]:
    """The items of some rows (n,) of a table, in order, by their new places."""
    items = []
    for item in table.items:
        start, stop = np.searchsorted(rows, [item.rows.start, item.rows.stop])
        if stop > start:
            restarts = np.searchsorted(rows[start:stop], [item.rows.start + frame for frame in item.restarts])
            items.append(replace(item, rows=slice(int(start), int(stop)), restarts=tuple(restarts.tolist())))
    return tuple(items)


def _restricted(
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
