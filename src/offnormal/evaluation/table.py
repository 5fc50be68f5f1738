"""The score table: one row for each image, frame, or clip, and the rule that decides on its rows."""

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
ASSUMED_FPS = 25.0  # of footage without a clock; reported with all seconds derived from it
TESTED = ("", "test", "anomalous")  # splits of the test set


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRow:
    """Values of an item that are the same for all its rows."""

    name: str  # unique in the table
    rows: slice
    class_name: str = ""  # type of anomaly or class of activity; "" unknown
    group: str = ""  # session, lot, original; "" none
    split: str = ""  # of data with splits; see `TESTED`
    restarts: tuple[int, ...] = ()  # frames at which the clock of a video restarts
    fps: float | None = None  # frame rate of the source
    is_thinned: bool = False  # whether frames were skipped on purpose, so that each score holds until the next


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreTable:
    """Scores of items as columns (R,); the rows of an item are contiguous, in the order of its frames."""

    unit: Unit
    items: tuple[ItemRow, ...]
    frame: NDArray[np.int64]  # (R,) position in the video; -1 where the unit is not the frame
    time_s: Floats  # (R,) seconds; NaN: no clock
    label: Floats  # (R,) 0 normal, 1 anomalous, NaN unknown
    score: Floats  # (R,) higher = more anomalous; NaN: not scored
    p_value: Floats  # (R,) NaN: not calibrated, or not scored
    verdict: Floats  # (R,) 0 normal, 1 anomalous, NaN undecided
    reason: tuple[tuple[int, int, str], ...] = ()  # rows start <= row < stop without a score, and the reason
    terms: Mapping[str, Floats] = field(default_factory=dict)  # (R,) each; NaN: no value

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
        """Rows (R,) of the test set, not used for training or calibration."""
        return self.repeat_by_item([item.split in TESTED for item in self.items])

    @property
    def labeled(self) -> BoolArray:
        """Rows (R,) used by metrics: in the test set, with a score and a label."""
        return np.asarray(self.scored & self.tested & np.isfinite(self.label))

    def repeat_by_item(self, values: Sequence[bool]) -> BoolArray:
        """Repeat a flag of each item for its rows."""
        return np.repeat(np.asarray(values, np.bool_), [item.rows.stop - item.rows.start for item in self.items])

    def item_column(self, value: Callable[[ItemRow], str]) -> list[str]:
        """Column of a text of the items."""
        return [text for item in self.items for text in [value(item)] * (item.rows.stop - item.rows.start)]

    @property
    def lost(self) -> set[int]:
        """Rows of frames that could not be decoded."""
        return {row for start, stop, why in self.reason if why == LOST for row in range(start, stop)}

    def series(self, *, fps: float | None = None) -> list[FrameScores]:
        """Frames of each video as a series; [] if each item has a single score.

        fps: frame rate to assume without times and without a rate of the source; None: no clock.
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
    threshold: float | None  # None: no decisions

    @classmethod
    def from_calibration(cls, calibration: Calibration | None, by_hand: float | None = None) -> Self:
        """Create the rule; by_hand: threshold to use instead of the calibrated one, without a guarantee."""
        if calibration is not None and by_hand is not None:
            calibration = calibration.with_threshold(by_hand)
        return cls(calibration, by_hand if calibration is None else calibration.threshold)

    @property
    def pixel_threshold(self) -> float | None:
        """The threshold of maps; None: not calibrated."""
        return None if self.calibration is None else self.calibration.pixel_threshold

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """P-values (R,) of scores (R,); NaN for a NaN score, or without a calibration."""
        p_values = np.full(len(scores), np.nan)
        scored = ~np.isnan(scores)
        if self.calibration is not None and scored.any():
            p_values[scored] = self.calibration.p_value(scores[scored].astype(np.float64))
        return p_values

    def verdicts(self, scores: np.ndarray) -> np.ndarray:
        """Verdicts (R,): 0 normal, 1 anomalous; NaN for a NaN score, or without a threshold."""
        if self.threshold is None:
            return np.full(len(scores), np.nan)
        return np.where(np.isnan(scores), np.nan, scores.astype(np.float64) > self.threshold)

    def low_threshold(self, hysteresis: float) -> float | None:
        """Threshold at which an alarm ends (`events.machine.low_threshold`); without calibration the threshold."""
        if self.threshold is None or self.calibration is None:
            return self.threshold
        return low_threshold(self.threshold, float(np.median(self.calibration.scores)), hysteresis)


def join_tables(tables: Sequence[ScoreTable]) -> ScoreTable:
    """Concatenate tables; a term is NaN in the rows of tables without it.

    Raises DataError for tables of different units and for no tables.
    """
    units = {table.unit for table in tables}
    if len(units) != 1:
        raise DataError(f"{len(tables)} tables of {len(units)} units; expected tables of one unit")
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


def tabulate(scores: ItemScores, unit: Unit, rule: DecisionRule, *, split: str = "") -> ScoreTable:
    """Convert the scores of an item to a table; split: its split; DataError for a wrong number of labels.

    Times are positions in the video by `metrics.clock`; NaN: no clock.
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
        p_value=rule.p_values(scores.score),
        verdict=rule.verdicts(scores.score),
        reason=tuple((span.start, span.stop, span.reason) for span in scores.not_scored),
        terms={name: values.astype(np.float64) for name, values in scores.terms.items()},
    )


def item_label(item: Item) -> int | None:
    """Label of an item: its label, or anomalous if any frame is anomalous; None: unknown."""
    if item.label is not None or item.frame_labels is None:
        return item.label
    return ANOMALOUS if item.frame_labels.any() else NORMAL


def _labels(item: Item, count: int, unit: Unit) -> np.ndarray:
    """Labels (R,) of an item with R rows; NaN: unknown."""
    if not unit.is_per_frame or item.frame_labels is None:
        label = item_label(item)
        return np.full(count, np.nan if label is None else float(label))
    if len(item.frame_labels) < count:
        raise DataError(
            f"video {item.name}: {len(item.frame_labels)} labels for {count} frames; expected one label per frame"
        )
    return item.frame_labels[:count].astype(
        np.float64
    )  # a truncated video has more labels; the reader has logged a warning
