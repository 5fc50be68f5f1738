"""The tables of a report of clips: how parts and classes score, each with a box plot, and how many clips there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offnormal.clip_evaluation import ClipEvaluation, ScoredClip
from offnormal.data.class_split import SPLITS
from offnormal.metrics.decision import Share
from offnormal.report.axis import ScoreAxis
from offnormal.report.box import box
from offnormal.report.tables import NOT_CALIBRATED, Gap

WORDS = {
    "train": "normal, train",
    "calibration": "normal, calibration",
    "test": "normal, test",
    "anomalous": "anomalous",
}
SHOWN = 60  # classes


@dataclass(frozen=True, slots=True)
class BoxRow:
    """Clips that belong together, and how they score."""

    name: str
    count: int
    right: Share | None  # kept, or of anomalous ones caught; None: there is no threshold
    median: float | None
    auroc: float | None
    colour: str
    box: str  # <svg>


@dataclass(frozen=True, slots=True)
class Counts:
    """How many clips of each class are in each part."""

    columns: list[str]  # words of the parts that there are
    rows: list[tuple[str, bool, list[int]]]  # class, whether it is anomalous, clips by part
    totals: list[int]
    originals: int | None  # of all of these; None: every clip is its own


def by_part(evaluation: ClipEvaluation, axis: ScoreAxis) -> list[BoxRow]:
    """A row for each part; where there are no labels one for all."""
    if not evaluation.accuracy:
        return [_row("without a label", evaluation.clips, None, None, "unknown", evaluation, axis)]
    rows = []
    for found in evaluation.accuracy:
        own = [row for row in evaluation.clips if row.part == found.part and row.label is not None]
        colour = "anomalous" if found.part == "anomalous" else "normal"
        rows.append(_row(WORDS[found.part], own, found.right, None, colour, evaluation, axis))
    return rows


def by_class(evaluation: ClipEvaluation, axis: ScoreAxis) -> list[BoxRow]:
    """A row for each class, of the clips tested on."""
    rows = []
    for found in evaluation.classes[:SHOWN]:
        own = [row for row in evaluation.labelled if row.video.class_name == found.action]
        colour = "anomalous" if found.anomalous else "normal"
        rows.append(_row(found.action, own, found.right, found.auroc, colour, evaluation, axis))
    return rows


def counts(evaluation: ClipEvaluation) -> Counts | None:
    """Clips by class and part; None without classes."""
    if not evaluation.classes:
        return None
    parts = [part for part in SPLITS if any(row.counts.get(part) for row in evaluation.classes)]
    rows = [(row.action, row.anomalous, [row.counts.get(part, 0) for part in parts]) for row in evaluation.classes]
    originals = {row.video.group for row in evaluation.clips if row.video.group is not None}
    return Counts(
        columns=[WORDS[part] for part in parts],
        rows=rows,
        totals=[sum(values[place] for _, _, values in rows) for place in range(len(parts))],
        originals=len(originals) if 0 < len(originals) < len(evaluation.clips) else None,
    )


def gaps(evaluation: ClipEvaluation) -> list[Gap]:
    """Metrics that could not be computed."""
    found = [Gap(name, reason) for name, reason in evaluation.missing.items()]
    return found if evaluation.calibration is not None else [*found, NOT_CALIBRATED]


def _row(
    name: str,
    clips: Sequence[ScoredClip],
    right: Share | None,
    auroc: float | None,
    colour: str,
    evaluation: ClipEvaluation,
    axis: ScoreAxis,
) -> BoxRow:
    scores = np.array([row.score for row in clips])
    median = float(np.median(scores)) if scores.size else None
    drawn = box(scores, axis, threshold=evaluation.threshold, colour=colour)
    return BoxRow(name, len(clips), right, median, auroc, colour, drawn)
