"""What is known after a data set was scored: metrics, decisions at the threshold, the table of scores. Pure numpy."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offnormal.calibration.calibration import Calibration
from offnormal.data.dataset import Dataset, Skipped
from offnormal.files import new_file
from offnormal.metrics import decision, image
from offnormal.metrics.accumulate import PixelResult
from offnormal.metrics.item_use import ItemShares
from offnormal.types import ANOMALOUS, NORMAL, Sample

HEADLINE = ("image_AUROC", "image_AP", "image_F1", "pixel_AUROC", "pixel_AUPRO", "pixel_F1")


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """One row of scores.csv."""

    sample: Sample
    score: float  # raw, higher = more anomalous
    p_value: float | None  # None: not calibrated
    anomalous: bool | None  # None: not calibrated


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that is known after scoring a data set; the report draws it."""

    dataset: Dataset
    rows: list[ScoredImage]
    metrics: dict[str, float]  # names of DESIGN, only those that the labels and masks allow
    missing: dict[str, str]  # metric -> why it could not be computed
    pixel: PixelResult | None
    calibration: Calibration | None
    confusion: decision.Confusion | None  # at the calibrated threshold
    classification: dict[str, Any] | None  # scikit-learn's report at that threshold
    operating: list[decision.OperatingPoint]
    defects: list[decision.DefectRow]
    skipped: list[Skipped]
    bundle: str  # hash of the bundle that scored
    fingerprint: str  # of the test pictures
    items: ItemShares | None = None  # use of the detector's memory; None: it has none

    @property
    def labelled(self) -> list[ScoredImage]:
        """Rows with a label."""
        return [row for row in self.rows if row.sample.label is not None]


def scored_rows(samples: Sequence[Sample], scores: np.ndarray, calibration: Calibration | None) -> list[ScoredImage]:
    """Samples with their scores (N,), p-values and decisions."""
    if calibration is None:
        return [ScoredImage(sample, float(score), None, None) for sample, score in zip(samples, scores, strict=True)]
    p_values = calibration.p_value(scores)
    return [
        ScoredImage(sample, float(score), float(p_value), bool(score > calibration.threshold))
        for sample, score, p_value in zip(samples, scores, p_values, strict=True)
    ]


def judge(
    dataset: Dataset,
    rows: list[ScoredImage],
    pixel: PixelResult | None,
    calibration: Calibration | None,
    missing: dict[str, str],
    skipped: list[Skipped],
    bundle: str,
    fingerprint: str,
    items: ItemShares | None = None,
) -> Evaluation:
    """Every metric that labels and masks allow; `missing` says why others are not there."""
    known = [row for row in rows if row.sample.label is not None]
    labels = np.array([row.sample.label for row in known], dtype=np.int64)
    scores = np.array([row.score for row in known], dtype=np.float64)
    metrics: dict[str, float] = {}
    both = NORMAL in labels and ANOMALOUS in labels
    if both:
        metrics["image_AUROC"] = image.auroc(labels, scores)
        metrics["image_AP"] = image.average_precision(labels, scores)
        metrics["image_F1"] = image.best_f1(labels, scores)[0]
    else:
        found = "no labels" if not known else f"only {'anomalous' if ANOMALOUS in labels else 'normal'} pictures"
        missing["image metrics"] = f"{found}: both normal and anomalous ones are needed"
    if pixel is not None:
        for name, value in (
            ("pixel_AUROC", pixel.auroc),
            ("pixel_AUPRO", pixel.aupro),
            ("pixel_F1", pixel.f1),
        ):
            if value is not None:
                metrics[name] = value
    decided = calibration is not None and bool(known)
    verdicts = np.array([bool(row.anomalous) for row in known])
    threshold = calibration.threshold if calibration is not None else None
    return Evaluation(
        dataset=dataset,
        rows=rows,
        metrics=metrics,
        missing=missing,
        pixel=pixel,
        calibration=calibration,
        confusion=decision.confusion(labels, verdicts) if decided else None,
        classification=dict(decision.classification_report(labels, verdicts)) if decided else None,
        operating=decision.operating_table(labels, scores) if both else [],
        defects=decision.per_defect([row.sample.defect for row in known], labels, scores, threshold) if known else [],
        skipped=skipped,
        bundle=bundle,
        fingerprint=fingerprint,
        items=items,
    )


def metrics_json(evaluation: Evaluation) -> dict[str, Any]:
    """What metrics.json holds: metrics, the decision at the threshold, per defect, and what it all rests on."""
    calibration = evaluation.calibration
    return {
        "metrics": evaluation.metrics,
        "missing": evaluation.missing,
        "pixel": asdict(evaluation.pixel) if evaluation.pixel is not None else None,
        "calibration": None if calibration is None else calibration.summary(),
        "confusion": asdict(evaluation.confusion) if evaluation.confusion is not None else None,
        "classification_report": evaluation.classification,
        "operating_points": [asdict(point) for point in evaluation.operating],
        "defects": [asdict(row) for row in evaluation.defects],
        "skipped": [{"path": str(bad.path), "reason": bad.reason} for bad in evaluation.skipped],
        "data": {
            "name": evaluation.dataset.name,
            "layout": evaluation.dataset.layout,
            "category": evaluation.dataset.category,
            "images": len(evaluation.rows),
            "fingerprint": evaluation.fingerprint,
        },
        "bundle": evaluation.bundle,
    }


def write_scores(path: Path, evaluation: Evaluation) -> None:
    """scores.csv: one row per picture, in the order of the data set."""
    with new_file(path) as partial, partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "defect", "group", "score", "p_value", "anomalous"])
        for row in evaluation.rows:
            sample = row.sample
            table.writerow(
                [
                    sample.path.as_posix(),
                    "" if sample.label is None else sample.label,
                    sample.defect,
                    sample.group or "",
                    f"{row.score:.7g}",
                    "" if row.p_value is None else f"{row.p_value:.4g}",
                    "" if row.anomalous is None else int(row.anomalous),
                ]
            )


def mean_row(metrics: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of every metric over the categories that have it, in the order of the first."""
    names = dict.fromkeys(name for found in metrics for name in found)
    return {name: float(np.mean([found[name] for found in metrics if name in found])) for name in names}
