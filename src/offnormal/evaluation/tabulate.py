"""The scores of one item -> its rows of the score table, with labels, p-values, and verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from offnormal.errors import DataError
from offnormal.evaluation.decision_rule import DecisionRule
from offnormal.evaluation.table import ItemRow, ScoreTable
from offnormal.metrics.clock import Clock
from offnormal.types import ANOMALOUS, NORMAL, Item, Unit

if TYPE_CHECKING:
    from offnormal.scoring.pipeline import ItemScores


def tabulate(scores: ItemScores, unit: Unit, decide: DecisionRule, *, split: str = "") -> ScoreTable:
    """One item as a table; split: where it belongs in a dataset that is divided. DataError for labels that do not fit.

    Times are those of the one clock rule (`metrics.clock`): positions in the video, NaN where it has no clock.
    """
    item, count = scores.item, len(scores.score)
    video, clock = scores.video, None
    if video is not None:
        clock = Clock.of(video.times_s, fps=video.fps, restarts=video.restarts, name=item.name)
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
        frame=np.arange(count) if unit is Unit.FRAME else np.full(count, -1),
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
    if unit is not Unit.FRAME or item.frame_labels is None:
        label = label_of(item)
        return np.full(count, np.nan if label is None else float(label))
    if len(item.frame_labels) < count:
        raise DataError(
            f"video {item.name}: {len(item.frame_labels)} labels for {count} frames; expected one label a frame"
        )
    return item.frame_labels[:count].astype(np.float64)  # of a truncated file; the reader has warned
