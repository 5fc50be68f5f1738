"""The score table: one row for each image, frame, or clip, whatever the unit, and what decides on its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from offnormal.calibration.calibration import Calibration
from offnormal.errors import DataError
from offnormal.events.machine import low_threshold
from offnormal.metrics.clock import Clock
from offnormal.metrics.inputs import BoolArray
from offnormal.metrics.video import LOST, FrameScores
from offnormal.types import ANOMALOUS, NORMAL, Item, Unit

if TYPE_CHECKING:
    from offnormal.scoring.pipeline import ItemScores

Floats = NDArray[np.float64]
ASSUMED_FPS = 25.0  # of footage without a clock; reported wherever seconds are derived from it
TESTED = ("", "test", "anomalous")  # splits that metrics rest on


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRow:
    """What the table says about an item once, for all of its rows."""

    name: str  # unique in the table
    rows: slice
    class_name: str = ""  # type of anomaly or class of activity; "" unknown
    group: str = ""  # session, lot, original; "" none
    split: str = ""  # of datasets that are divided; see `TESTED`
    restarts: tuple[int, ...] = ()  # frames with which a video's clock starts again
    fps: float | None = None  # frames per second as the source states them: how long a single frame lasts
    is_thinned: bool = False  # whether frames were left out on purpose, so that each score holds until the next


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreTable:
    """Scores of items as columns (R,), the rows of an item side by side in the order of its frames."""

    unit: Unit
    items: tuple[ItemRow, ...]
    frame: NDArray[np.int64]  # (R,) position in the video; -1 where the unit is not the frame
    time_s: Floats  # (R,) seconds; NaN: no clock
    label: Floats  # (R,) 0 normal, 1 anomalous, NaN unknown
    score: Floats  # (R,) higher = more anomalous; NaN: not scored
    p_value: Floats  # (R,) NaN: not calibrated, or not scored
    verdict: Floats  # (R,) 0 normal, 1 anomalous, NaN undecided
    reason: tuple[tuple[int, int, str], ...] = ()  # rows start <= row < stop that were not scored, and why
    terms: Mapping[str, Floats] = field(default_factory=dict)  # (R,) each, NaN where there is none

    def __len__(self) -> int:
        return self.score.size

    @property
    def has_clock(self) -> bool:
        """Whether any row has a time."""
        return bool(np.isfinite(self.time_s).any())

    @property
    def scored(self) -> BoolArray:
        """Rows (R,) with a score."""
        return np.asarray(~np.isnan(self.score))

    @property
    def tested(self) -> BoolArray:
        """Rows (R,) of items that the detector neither learned from nor was calibrated on."""
        return self.of_item([item.split in TESTED for item in self.items])

    @property
    def labeled(self) -> BoolArray:
        """Rows (R,) that metrics rest on: tested, with a score and a label."""
        return np.asarray(self.scored & self.tested & np.isfinite(self.label))

    def of_item(self, values: Sequence[bool]) -> BoolArray:
        """A flag for each item -> one for each of its rows."""
        return np.repeat(np.asarray(values, np.bool_), [item.rows.stop - item.rows.start for item in self.items])

    def item_column(self, value: Callable[[ItemRow], str]) -> list[str]:
        """A word for each row, from its item."""
        return [text for item in self.items for text in [value(item)] * (item.rows.stop - item.rows.start)]

    @property
    def lost(self) -> set[int]:
        """Rows of frames that could not be decoded."""
        return {row for start, stop, why in self.reason if why == LOST for row in range(start, stop)}

    def series(self, *, fps: float | None = None) -> list[FrameScores]:
        """Each video's frames as a series; [] where an item has one score.

        fps: assumed where neither times nor the source tell; None: no clock.
        """
        if not self.unit.is_per_frame:
            return []
        lost = self.lost
        return [
            FrameScores(
                item.name,
                self.score[item.rows],
                labels if np.isfinite(labels := self.label[item.rows]).all() else None,
                None if np.isnan(times := self.time_s[item.rows]).all() else times,
                fps=item.fps or fps,
                restarts=item.restarts,
                is_thinned=item.is_thinned,
                lost=[row - item.rows.start for row in range(item.rows.start, item.rows.stop) if row in lost],
            )
            for item in self.items
        ]


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """The threshold in force; a score above it is anomalous."""

    calibration: Calibration | None
    threshold: float | None  # None: nothing decides

    @classmethod
    def of(cls, calibration: Calibration | None, by_hand: float | None = None) -> Self:
        """By a calibration; by_hand: a threshold that replaces the calibrated one and carries no guarantee."""
        if calibration is not None and by_hand is not None:
            calibration = calibration.with_threshold(by_hand)
        return cls(calibration, by_hand if calibration is None else calibration.threshold)

    @property
    def pixel_threshold(self) -> float | None:
        """The threshold of maps; None: not calibrated."""
        return None if self.calibration is None else self.calibration.pixel_threshold

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """(R,) p-values of scores (R,); NaN for a NaN score, and everywhere without a calibration."""
        p_values = np.full(len(scores), np.nan)
        scored = ~np.isnan(scores)
        if self.calibration is not None and scored.any():
            p_values[scored] = self.calibration.p_value(scores[scored].astype(np.float64))
        return p_values

    def verdicts(self, scores: np.ndarray) -> np.ndarray:
        """(R,) 0 normal, 1 anomalous; NaN for a NaN score, and everywhere without a threshold."""
        if self.threshold is None:
            return np.full(len(scores), np.nan)
        return np.where(np.isnan(scores), np.nan, scores.astype(np.float64) > self.threshold)

    def low_threshold(self, hysteresis: float) -> float | None:
        """Where an alarm ends (`events.machine.low_threshold`); the threshold itself if the normals are unknown."""
        if self.threshold is None or self.calibration is None:
            return self.threshold
        return low_threshold(self.threshold, float(np.median(self.calibration.scores)), hysteresis)


def join_tables(tables: Sequence[ScoreTable]) -> ScoreTable:
    """The rows of several tables one after the other; terms that only some of them have are NaN elsewhere.

    Raises DataError for tables of different units, or none.
    """
    units = {table.unit for table in tables}
    if len(units) != 1:
        raise DataError(f"{len(tables)} tables of {len(units)} units: expected one unit, such as frames")
    items, reasons, start = [], [], 0
    for table in tables:
        items += [replace(item, rows=slice(item.rows.start + start, item.rows.stop + start)) for item in table.items]
        reasons += [(first + start, stop + start, why) for first, stop, why in table.reason]
        start += len(table)
    names = dict.fromkeys(name for table in tables for name in table.terms)
    return ScoreTable(
        unit=units.pop(),
        items=tuple(items),
        frame=np.concatenate([table.frame for table in tables]),
        time_s=np.concatenate([table.time_s for table in tables]),
        label=np.concatenate([table.label for table in tables]),
        score=np.concatenate([table.score for table in tables]),
        p_value=np.concatenate([table.p_value for table in tables]),
        verdict=np.concatenate([table.verdict for table in tables]),
        reason=tuple(reasons),
        terms={
            name: np.concatenate([table.terms.get(name, np.full(len(table), np.nan)) for table in tables])
            for name in names
        },
    )


def tabulate(scores: ItemScores, unit: Unit, decide: DecisionRule, *, split: str = "") -> ScoreTable:
    """One item as a table; split: where it belongs in a dataset that is divided. DataError for labels that do not fit.

    Times are those of the one clock rule (`metrics.clock`): positions in the video, NaN where it has no clock.
    """
    item, count = scores.item, len(scores.score)
    video, clock = scores.video, None
    if video is not None:
        clock = Clock.from_times(video.times_s, fps=video.fps, restarts=video.restarts, name=item.name)
    return ScoreTable(
        unit=unit,
        items=(
            ItemRow(
                name=item.name,
                rows=slice(0, count),
                class_name=item.class_name or "",
                group=item.group or "",
                split=split,
                restarts=() if clock is None else tuple(sorted(clock.restarts)),
                fps=None if video is None else video.fps,
                is_thinned=video is not None and video.is_thinned,
            ),
        ),
        frame=np.arange(count) if unit.is_per_frame else np.full(count, -1),
        time_s=np.full(count, np.nan) if clock is None else clock.times_s,
        label=_labels(item, count, unit),
        score=scores.score.astype(np.float64),
        p_value=decide.p_values(scores.score),
        verdict=decide.verdicts(scores.score),
        reason=tuple((span.start, span.stop, span.reason) for span in scores.not_scored),
        terms={name: values.astype(np.float64) for name, values in scores.terms.items()},
    )


def label_of(item: Item) -> int | None:
    """Of an item as a whole: its own, or anomalous if any of its frames is; None: unknown."""
    if item.label is not None or item.frame_labels is None:
        return item.label
    return ANOMALOUS if item.frame_labels.any() else NORMAL


def _labels(item: Item, count: int, unit: Unit) -> np.ndarray:
    """(R,) of an item with R rows; NaN: unknown."""
    if not unit.is_per_frame or item.frame_labels is None:
        label = label_of(item)
        return np.full(count, np.nan if label is None else float(label))
    if len(item.frame_labels) < count:
        raise DataError(
            f"video {item.name}: {len(item.frame_labels)} labels for {count} frames; expected one label a frame"
        )
    return item.frame_labels[:count].astype(np.float64)  # of a truncated file; the reader has warned
