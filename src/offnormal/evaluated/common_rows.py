"""The rows that several scores.csv share, in one order, and those of them that every run scored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from offnormal.errors import DataError
from offnormal.evaluated.score_table import Key, Kind, ScoreTable
from offnormal.metrics.inputs import BoolArray
from offnormal.metrics.video import FrameScores, min_max

_NOT_TESTED = ("train", "validation")
BLOCKS = 20  # stretches of time that stand for the videos where there is one video only


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Common:
    """Rows (R,) that stand in every table, video by video in the order of their frames, or pictures in theirs."""

    kind: Kind
    keys: list[Key]
    rows: list[NDArray[np.int64]]  # (R,) each: where they stand in each table
    scored: BoolArray  # (R,) by every run
    labels: NDArray[np.float64]  # (R,) NaN: unknown
    times_s: NDArray[np.float64]  # (R,) NaN: no clock
    defects: list[str]
    groups: list[str]
    parts: list[str]  # of clips; else ""

    @property
    def count(self) -> int:
        """How many rows every run scored."""
        return int(self.scored.sum())

    @property
    def labelled(self) -> BoolArray:
        """Rows (R,) that every run scored and that have a label: what the metrics rest on.

        Not those that were learnt from or that set the threshold.
        """
        tested = np.array([part not in _NOT_TESTED for part in self.parts], np.bool_)
        return np.asarray(self.scored & np.isfinite(self.labels) & tested)

    def videos(self) -> list[tuple[str, slice]]:
        """Each video and where its rows lie."""
        names = np.array([name for name, _ in self.keys])
        starts = np.flatnonzero(np.append(True, names[1:] != names[:-1]))
        stops = np.append(starts[1:], names.size)
        return [(str(names[start]), slice(int(start), int(stop))) for start, stop in zip(starts, stops, strict=True)]

    def series(self, scores: NDArray[np.float64]) -> tuple[FrameScores, ...]:
        """Scores (R,) by video, NaN where not every run has one; () for pictures and clips."""
        if self.kind != "videos":
            return ()
        found = []
        for name, own in self.videos():
            labels, times = self.labels[own], self.times_s[own]
            found.append(
                FrameScores(
                    name,
                    np.where(self.scored[own], scores[own], np.nan),
                    labels if np.isfinite(labels).all() else None,
                    times,
                )
            )
        return tuple(found)

    def per_video_norm(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores (R,) stretched to 0-1 within each video, by what every run scored."""
        kept = np.where(self.scored, scores, np.nan)
        return np.concatenate([min_max(kept[own]) for _, own in self.videos()])

    def units(self) -> tuple[NDArray[np.int64], str, int]:
        """Number of the unit (R,) that each row is drawn with, what the units are, and how many have labelled rows."""
        known = np.flatnonzero(self.labelled)
        number = np.full(len(self.keys), -1)
        if self.kind == "videos":
            names, what = [self.keys[row][0] for row in known], "videos"
        else:
            names = [self.groups[row] or self.keys[row][0] for row in known]
            what = "pictures" if self.kind == "images" else "clips"
            if any(self.groups):
                what = "groups" if self.kind == "images" else "originals"
        _, number[known] = np.unique(names, return_inverse=True) if names else ((), ())
        count = int(number.max(initial=-1)) + 1
        if self.kind == "videos" and count == 1 and known.size >= BLOCKS:
            number[known] = np.arange(known.size) * BLOCKS // known.size
            return number, f"stretches of equal length of the one video {names[0]}", BLOCKS
        return number, what, count

    def by_video(self, number: NDArray[np.int64]) -> bool:
        """Whether those units are whole videos."""
        return self.kind == "videos" and len({self.keys[row][0] for row in np.flatnonzero(number >= 0)}) > 1

    def unit_rows(self, number: NDArray[np.int64], units: int) -> list[NDArray[np.intp]]:
        """The labelled rows of each unit."""
        order = np.argsort(number, kind="stable")
        ends = np.searchsorted(number[order], np.arange(units + 1))
        return [order[start:stop] for start, stop in pairwise(ends)]


def common_rows(tables: Sequence[ScoreTable], kind: Kind) -> Common:
    """What several tables of the same data share.

    Raises DataError where they share no scored row, or differ in a label.
    """
    keyed = [_keyed(table, relative=False) for table in tables]
    if kind == "images" and not set.intersection(*(set(own) for own in keyed)):
        keyed = [_keyed(table, relative=True) for table in tables]  # the same tree, reached on other ways
    shared = set.intersection(*(set(own) for own in keyed))
    place = {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in keyed[0]))}
    keys = [key for key in keyed[0] if key in shared]
    keys.sort(key=lambda key: (place[key[0]], key[1]))
    rows = [np.array([own[key] for key in keys], dtype=np.int64) for own in keyed]
    scored = [np.isfinite(table.scores[own]) for table, own in zip(tables, rows, strict=True)]
    everywhere = np.asarray(np.all(scored, axis=0), dtype=np.bool_)
    if not everywhere.any():
        names = ", ".join(str(table.file) for table in tables)
        raise DataError(f"{names}: no {kind[:-1]} was scored by every run, so there is nothing to compare")
    first, lines = tables[0], rows[0]
    for table, own in zip(tables[1:], rows[1:], strict=True):
        differ = np.flatnonzero(~_equal(table.labels[own], first.labels[lines]))
        if differ.size:
            at, there = first.lines[lines[differ[0]]], table.lines[own[differ[0]]]
            raise DataError(
                f"{table.file}, line {there}: another label than in {first.file}, line {at}, though the data are the "
                "same: one of them was edited; run offnormal evaluate again"
            )
    return Common(
        kind=kind,
        keys=keys,
        rows=rows,
        scored=everywhere,
        labels=first.labels[lines],
        times_s=first.times_s[lines],
        defects=[first.defects[row] for row in lines],
        groups=[first.groups[row] for row in lines],
        parts=[first.parts[row] for row in lines],
    )


def _keyed(table: ScoreTable, *, relative: bool) -> dict[Key, int]:
    """Key -> row; `relative`: names below the folder that all of the table's files lie in."""
    if not relative:
        return {key: row for row, key in enumerate(table.keys)}
    folders = [str(PurePath(name).parent) for name, _ in table.keys]
    try:
        root = os.path.commonpath(folders)
    except ValueError:  # absolute beside relative, or two drives
        root = ""
    return {(os.path.relpath(name, root or "."), frame): row for row, (name, frame) in enumerate(table.keys)}


def _equal(a: NDArray[np.float64], b: NDArray[np.float64]) -> BoolArray:
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))
