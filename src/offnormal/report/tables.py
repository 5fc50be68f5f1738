"""The tables of a report: kinds of pictures, decisions, thresholds, what is missing and what was left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from offnormal.clip_evaluation import ClipEvaluation
from offnormal.data.dataset import Skipped
from offnormal.drawing.axis import ScoreAxis
from offnormal.drawing.score_rows import strip
from offnormal.evaluation import Evaluation, ScoredImage
from offnormal.metrics.decision import Confusion, OperatingPoint
from offnormal.report.wording import counted, name_of
from offnormal.types import ANOMALOUS, NORMAL
from offnormal.video_evaluation import VideoEvaluation

SKIPPED_SHOWN = 25
TOP_SHOWN = 15


@dataclass(frozen=True, slots=True)
class KindRow:
    """How the pictures of one kind (a defect, the normals) score."""

    name: str
    count: int
    above: int | None  # of them above the threshold; None without one
    auroc: float | None  # against all normal pictures
    colour: str
    strip: str  # <svg>

    @property
    def share(self) -> float | None:
        """Share above the threshold, 0-1."""
        return None if self.above is None or not self.count else self.above / self.count


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One line of scikit-learn's classification report; None where there is nothing to divide by."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that is not known, or not exactly, and why."""

    name: str
    reason: str


NOT_CALIBRATED = Gap("threshold and verdicts", "the detector is not calibrated: run offnormal calibrate on normals")


def kinds(evaluation: Evaluation, axis: ScoreAxis) -> list[KindRow]:
    """Normals of the calibration, normals of the test, every kind of defect, and pictures without a label."""
    calibration = evaluation.calibration
    threshold = calibration.threshold if calibration is not None else None

    def row(name: str, scores: np.ndarray, above: int | None, auroc: float | None, colour: str) -> KindRow:
        drawn = strip(scores, axis, threshold=threshold, colour=colour)
        return KindRow(name, len(scores), above, auroc, colour, drawn)

    def chosen(label: int | None, defect: str | None = None) -> list[ScoredImage]:
        same = [found for found in evaluation.rows if found.sample.label == label]
        return [found for found in same if defect is None or found.sample.item.class_name == defect]

    table = []
    if calibration is not None:
        table.append(row("normals of the calibration", np.array(calibration.scores), None, None, "normal"))
    for name, label, colour in (
        ("normals of the test", NORMAL, "normal"),
        ("without a label", None, "unknown"),
    ):
        if found := chosen(label):
            above = None if threshold is None else sum(bool(one.anomalous) for one in found)
            table.append(row(name, np.array([one.score for one in found]), above, None, colour))
    for defect in evaluation.defects:
        scores = np.array([found.score for found in chosen(ANOMALOUS, defect.defect)])
        table.append(row(defect.defect, scores, defect.caught, defect.auroc, "anomalous"))
    return table


def classes(evaluation: Evaluation) -> list[ClassRow]:
    """scikit-learn's report per class, then micro, macro and weighted averages; empty where nothing was decided."""
    report = evaluation.classification
    if report is None:
        return []
    rows = []
    for name in ("normal", "anomalous"):
        found = report[name]
        support = int(found["support"])
        precision, recall, f1 = (found[key] if support else None for key in ("precision", "recall", "f1-score"))
        rows.append(ClassRow(name, precision, recall, f1, support))
    total = sum(row.support for row in rows)
    accuracy = report["accuracy"]
    rows.append(ClassRow("micro average (accuracy)", accuracy, accuracy, accuracy, total))
    for key, name in (("macro avg", "macro average"), ("weighted avg", "weighted average")):
        found = report[key]
        rows.append(ClassRow(name, found["precision"], found["recall"], found["f1-score"], total))
    return rows


def thresholds(evaluation: Evaluation) -> list[tuple[OperatingPoint, bool]]:
    """The operating table with the calibrated threshold in its place, which alone is marked True."""
    rows = [(point, False) for point in evaluation.operating]
    calibration, counts = evaluation.calibration, evaluation.confusion
    if not rows or calibration is None or counts is None:
        return rows
    rows = [(point, mark) for point, mark in rows if point.threshold != calibration.threshold]
    rows.append((_point(calibration.threshold, counts), True))
    return sorted(rows, key=lambda row: row[0].threshold)


def gaps(evaluation: Evaluation) -> list[Gap]:
    """Metrics that could not be computed, and error bounds of those that are not exact."""
    found = [Gap(name, reason) for name, reason in evaluation.missing.items()]
    if evaluation.calibration is None:
        found.append(NOT_CALIBRATED)
    return found + pixel_gaps(evaluation)


def pixel_gaps(evaluation: Evaluation | VideoEvaluation) -> list[Gap]:
    """Pixel metrics that masks did not allow, and error bounds of those that are not exact."""
    found: list[Gap] = []
    pixel = evaluation.pixel
    if pixel is None:
        return found
    if pixel.auroc is None and "pixel metrics" not in evaluation.missing:
        found.append(Gap("pixel metrics", "the masks mark no pixel, or every pixel"))
    if not pixel.exact:
        number = counted(pixel.pixels, "pixel was", "pixels were")
        for name, bound in (
            ("pixel_AUROC", f"within {pixel.auroc_error_bound:.2g} of the exact value"),
            ("pixel_AUPRO", f"within {pixel.aupro_error_bound:.2g} of the exact value"),
            ("pixel_F1", f"at most {pixel.f1_error_bound:.2g} below the exact value"),
        ):
            if name in evaluation.metrics:
                found.append(Gap(name, f"{number} counted in bins to bound the memory: {bound}"))
    return found


def skipped(evaluation: Evaluation | VideoEvaluation | ClipEvaluation) -> tuple[list[Gap], int]:
    """Files that were left out, by name, with the reason; the first of them, and how many more there are."""
    root = evaluation.dataset.root

    def gap(bad: Skipped) -> Gap:
        name = name_of(bad.path, root)
        reason = bad.reason.removeprefix(f"{bad.path}: ")
        return Gap(name, reason)

    listed = [gap(bad) for bad in evaluation.skipped[:SKIPPED_SHOWN]]
    return listed, len(evaluation.skipped) - len(listed)


def highest(evaluation: Evaluation) -> list[tuple[str, ScoredImage]]:
    """The highest scores with their names, for a test set without labels; empty where there are labels."""
    if evaluation.labelled:
        return []
    rows = sorted(evaluation.rows, key=lambda row: -row.score)[:TOP_SHOWN]
    return [(name_of(row.sample.item.path, evaluation.dataset.root), row) for row in rows]


def _point(threshold: float, counts: Confusion) -> OperatingPoint:
    called, bad = counts.caught + counts.false_alarm, counts.caught + counts.escape
    return OperatingPoint(
        threshold=threshold,
        false_alarms=counts.false_alarm,
        false_alarms_per_100_good=counts.false_alarms_per_100_good.per_100,
        escapes=counts.escape,
        escapes_per_100_bad=counts.escapes_per_100_bad.per_100,
        precision=counts.caught / called if called else None,
        recall=counts.caught / bad if bad else None,
        f1=2 * counts.caught / (bad + called) if bad else None,
    )
