"""Evaluation of scores: metrics, decisions, and the check of the guarantee, for every unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from offnormal.calibration.calibration import Calibration
from offnormal.calibration.check import GuaranteeCheck, check_guarantee
from offnormal.calibration.guarantee import count_events
from offnormal.data.class_split import SPLITS
from offnormal.data.dataset import Dataset, Skipped
from offnormal.data.reuse import NO_REUSE, Reuse
from offnormal.data.unread import counts_as_json
from offnormal.evaluation.alarms import AlarmReport, report_alarms
from offnormal.evaluation.table import TESTED, DecisionRule, ScoreTable, join_tables
from offnormal.evaluation.units import TRAITS, measure, why_no_metrics
from offnormal.events.machine import EventRules
from offnormal.metrics import decision
from offnormal.metrics.accumulate import PixelResult, PixelScores
from offnormal.metrics.decision import (
    ClassRow,
    OracleThreshold,
    Share,
    SplitRow,
    ThresholdSweep,
    class_rows,
    oracle_threshold,
    split_rows,
    threshold_sweep,
)
from offnormal.metrics.memory_use import MemoryShares, MemoryUse
from offnormal.metrics.streams import divide_by_labels, join_series
from offnormal.metrics.video import FrameScores, VideoMetrics
from offnormal.sources.recorder import find_streams
from offnormal.types import NORMAL, Unit


@dataclass(slots=True, kw_only=True)
class Partial:
    """Result of scoring the items, in their order."""

    tables: list[ScoreTable] = field(default_factory=list)
    pixels: PixelScores | None = None  # None: no masks or no maps
    memory_use: MemoryUse = field(default_factory=MemoryUse)
    embeddings: list[np.ndarray] = field(default_factory=list)  # (n, D) of clips, in the order of rows
    latents: list[np.ndarray] = field(default_factory=list)  # (n, L)
    skipped: list[Skipped] = field(default_factory=list)
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by item
    notes: list[str] = field(default_factory=list)  # about the data as a whole, such as its masks
    reuse: Reuse = NO_REUSE
    assumed_fps: float | None = None  # of footage without a clock
    seconds: float = 0.0  # scoring time, including decoding


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """Results on a dataset; the report shows them."""

    dataset: Dataset
    table: ScoreTable
    metrics: dict[str, float]  # names of TRAITS, as far as labels and masks allow
    missing: dict[str, str]  # metric -> reason
    terms: dict[str, dict[str, float]]  # term of the score -> metrics of the term
    pixel: PixelResult | None
    calibration: Calibration | None
    guarantee: GuaranteeCheck | None  # whether the guarantee held; None: nothing to check
    confusion: decision.Confusion | None  # images and clips at the calibrated threshold
    classification: dict[str, Any] | None  # report of scikit-learn at the same threshold
    operating: list[decision.OperatingPoint]  # images and clips
    sweep: ThresholdSweep | None  # images and clips
    oracle: OracleThreshold | None
    classes: list[ClassRow]  # types of anomaly or classes of activity
    splits: list[SplitRow]  # of data with splits
    frames: VideoMetrics | None  # of videos scored frame by frame
    alarms: AlarmReport | None  # of videos, at the calibrated threshold
    memory: MemoryShares | None  # use of the detector's memory; None: no memory
    embeddings: np.ndarray | None  # (R, D) of clips; None: no embeddings
    latents: np.ndarray | None  # (R, L)
    skipped: list[Skipped]
    warnings: Mapping[str, tuple[str, ...]]  # by item
    notes: list[str]  # about the data as a whole
    reuse: Reuse  # test items that the bundle used before
    assumed_fps: float | None  # of footage without a clock; None: not needed
    seconds_per_unit: float | None  # scoring time, including decoding
    bundle: str  # hash of the bundle
    fingerprint: str  # of the test items

    @property
    def unit(self) -> Unit:
        """Unit of the scores."""
        return self.table.unit

    @property
    def threshold(self) -> float | None:
        """The calibrated threshold; None: not calibrated."""
        return None if self.calibration is None else self.calibration.threshold

    @property
    def distinct_metrics(self) -> dict[str, float]:
        """The metrics for people: without those that repeat others."""
        return self.metrics if self.frames is None else self.frames.distinct(self.metrics)

    @property
    def labeled(self) -> bool:
        """Whether any unit of the test set has a label."""
        return bool(self.table.labeled.any())


def evaluate_scores(
    dataset: Dataset,
    partial: Partial,
    *,
    calibration: Calibration | None,
    missing: Mapping[str, str],
    bundle: str,
    fingerprint: str,
    rules: EventRules,
    hysteresis: float,
    smooth_s: float | None = None,
) -> Evaluation:
    """Compute all metrics that labels and masks allow.

    missing: metrics that cannot be computed, with the reason. rules, hysteresis: event rules of alarms. smooth_s:
    standard deviation in seconds of a Gaussian over time, for additional frame metrics named `_smoothed`.
    """
    table = join_tables(partial.tables)
    threshold = None if calibration is None else calibration.threshold
    measured = measure(table, fps=partial.assumed_fps, smooth_s=smooth_s)
    streams, alarms, stream_alarms = _join_streams(dataset, measured.series), None, None
    if measured.series and calibration is not None:
        low = DecisionRule.from_calibration(calibration).low_threshold(hysteresis)
        alarms = report_alarms(measured.series, calibration.threshold, rules, low)
        stream_alarms = report_alarms(streams, calibration.threshold, rules, low)
    decisions = decide(table, threshold)
    pixel = None if partial.pixels is None else partial.pixels.compute()
    return Evaluation(
        dataset=dataset,
        table=table,
        metrics=measured.metrics | decisions.rates() | _pixel_metrics(pixel, TRAITS[table.unit].pixel),
        missing={**measured.missing, **_missing_pixel_metrics(pixel), **missing},
        terms=_term_metrics(table),
        pixel=pixel,
        calibration=calibration,
        guarantee=check_on_test_set(table, streams, calibration, stream_alarms),
        confusion=decisions.confusion,
        classification=decisions.classification,
        operating=decisions.operating,
        sweep=decisions.sweep,
        oracle=None if decisions.sweep is None else oracle_threshold(decisions.sweep),
        classes=decisions.classes,
        splits=decisions.splits,
        frames=measured.frames,
        alarms=alarms,
        memory=partial.memory_use.compute(),
        embeddings=np.concatenate(partial.embeddings) if partial.embeddings else None,
        latents=np.concatenate(partial.latents) if partial.latents else None,
        skipped=partial.skipped,
        warnings=partial.warnings,
        notes=partial.notes,
        reuse=partial.reuse,
        assumed_fps=partial.assumed_fps,
        seconds_per_unit=partial.seconds / len(table) if len(table) else None,
        bundle=bundle,
        fingerprint=fingerprint,
    )


def mean_metrics(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each metric over the categories that have it, in the order of the first category."""
    names = dict.fromkeys(name for category in metrics for name in category)
    return {name: float(np.mean([category[name] for category in metrics if name in category])) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """Decisions on images or clips at the threshold and at others."""

    confusion: decision.Confusion | None = None
    classification: dict[str, Any] | None = None
    operating: list[decision.OperatingPoint] = field(default_factory=list)
    sweep: ThresholdSweep | None = None
    classes: list[ClassRow] = field(default_factory=list)
    splits: list[SplitRow] = field(default_factory=list)

    def rates(self) -> dict[str, float]:
        """Share of correct decisions by split, as metrics of data with splits."""
        shares = {row.split: row.correct for row in self.splits if row.correct is not None and row.correct.total}
        names = {split: "clip_detected" if split == "anomalous" else f"clip_passed_{split}" for split in shares}
        return {names[split]: share.count / share.total for split, share in shares.items()}


def decide(table: ScoreTable, threshold: float | None) -> Decisions:
    """Count decisions on images or clips; empty for frames, which have alarms instead."""
    labels, scores = table.label[table.labeled], table.score[table.labeled]
    if table.unit.is_per_frame or not labels.size:
        return Decisions()
    has_both = why_no_metrics(table.unit, labels) is None
    rows = np.flatnonzero(table.scored & np.isfinite(table.label))  # of all splits
    classes, splits = (
        [column[row] for row in rows]
        for column in (table.item_column(lambda item: item.class_name), table.item_column(lambda item: item.split))
    )
    columns = table.label[rows], table.score[rows], threshold
    verdicts = None if threshold is None else scores > threshold
    return Decisions(
        confusion=None if verdicts is None else decision.confusion(labels, verdicts),
        classification=None if verdicts is None else dict(decision.classification_report(labels, verdicts)),
        operating=decision.operating_table(labels, scores) if has_both else [],
        sweep=threshold_sweep(labels, scores) if has_both else None,
        classes=[row for row in class_rows(classes, splits, *columns, tested=TESTED) if row.name],
        splits=split_rows(splits, *columns, order=SPLITS) if any(splits) else [],
    )


def _join_streams(dataset: Dataset, series: list[FrameScores]) -> list[FrameScores]:
    """Join consecutive videos of one recorder, so that an alarm that continues in the next file counts once."""
    items = {item.name: item for item in dataset.test}
    if not all(video.name in items for video in series):
        return series
    streams = find_streams([items[video.name] for video in series], [video.clock.seconds for video in series])
    return [join_series(series, part) for stream in streams for part in divide_by_labels(series, stream)]


def check_on_test_set(
    table: ScoreTable, series: list[FrameScores], calibration: Calibration | None, alarms: AlarmReport | None
) -> GuaranteeCheck | None:
    """Check the guarantee; None without a calibration, a guarantee, or a labeled normal unit.

    series, alarms: of the videos of the table, consecutive ones joined. Adjacent frames are correlated, so exceedances
    close in time count as one.
    """
    if calibration is None:
        return None
    if not series:
        normal = table.score[table.labeled & (table.label == NORMAL)]
        above = int((normal > calibration.threshold).sum())
        return check_guarantee(calibration, above, normal.size) if normal.size else None
    if calibration.rate.per in ("image", "clip") or alarms is None or not alarms.normal_s:
        return None  # a share of images has no meaning for correlated frames
    if not calibration.rate.is_share:
        return check_guarantee(calibration, alarms.false_incidents, alarms.normal_s)
    if calibration.block_s is None:
        return None
    above = sum(_exceedances(video, calibration.threshold, calibration.block_s) for video in series)
    return check_guarantee(calibration, above, alarms.normal_s)


def _exceedances(video: FrameScores, threshold: float, gap_s: float) -> int:
    """Count runs of normal frames above the threshold; runs up to `gap_s` apart are one."""
    if video.labels is None:
        return 0
    return count_events(video.clock.footage_s[np.flatnonzero(~video.labels & (video.scores > threshold))], gap_s)


def _missing_pixel_metrics(pixel: PixelResult | None) -> dict[str, str]:
    if pixel is None or pixel.auroc is not None:
        return {}
    if not pixel.pixels:
        return {"pixel metrics": "the detector has no anomaly map"}
    return {"pixel metrics": f"the masks mark {'every pixel' if pixel.regions else 'no pixel'}"}


def _pixel_metrics(pixel: PixelResult | None, names: Sequence[str]) -> dict[str, float]:
    if pixel is None:
        return {}
    values = {"pixel_AUROC": pixel.auroc, "pixel_AUPRO": pixel.aupro, "pixel_F1": pixel.f1}
    return {name: value for name in names if (value := values[name]) is not None}


def _term_metrics(table: ScoreTable) -> dict[str, dict[str, float]]:
    """Metrics of each term, as if it were the score; empty without labels of both classes."""
    terms = {name: measure(replace(table, score=values)).metrics for name, values in table.terms.items()}
    plain = {
        name: {metric: values[metric] for metric in TRAITS[table.unit].metrics if metric in values}
        for name, values in terms.items()
    }
    return {name: values for name, values in plain.items() if values}


def metrics_json(evaluation: Evaluation) -> dict[str, object]:
    """Convert to plain values for metrics.json: one schema for all units, with null or empty values."""
    calibration, dataset = evaluation.calibration, evaluation.dataset
    return {
        "unit": evaluation.unit.value,
        "metrics": evaluation.metrics,
        "missing": evaluation.missing,
        "terms": evaluation.terms,
        "pixel": None if evaluation.pixel is None else asdict(evaluation.pixel),
        "calibration": None if calibration is None else calibration.summary(),
        "guarantee": None
        if evaluation.guarantee is None
        else {
            "answer": evaluation.guarantee.answer.value,
            "p_value": evaluation.guarantee.p_value,
        },
        "confusion": None if evaluation.confusion is None else asdict(evaluation.confusion),
        "classification_report": evaluation.classification,
        "operating_points": [asdict(point) for point in evaluation.operating],
        "oracle_threshold": None if evaluation.oracle is None else asdict(evaluation.oracle),
        "classes": [
            {
                "class": row.name,
                "anomalous": row.is_anomalous,
                "counts": row.counts,
                "median_score": row.median,
                "AUROC": row.auroc,
                **_correct(row.correct, is_anomalous=row.is_anomalous),
            }
            for row in evaluation.classes
        ],
        "splits": [
            {"split": row.split, "count": row.count, **_correct(row.correct, is_anomalous=row.split == "anomalous")}
            for row in evaluation.splits
        ],
        "frames": None if evaluation.frames is None else _frames_json(evaluation.frames),
        "alarms": None if evaluation.alarms is None else evaluation.alarms.to_json(),
        "notes": evaluation.notes,
        "warnings": {item: list(texts) for item, texts in evaluation.warnings.items() if texts},
        **counts_as_json(len(evaluation.table.items), evaluation.skipped),
        "known": {"excluded": evaluation.reuse.is_excluded, "items": evaluation.reuse.names},
        "data": {
            "name": dataset.name,
            "layout": dataset.layout,
            "category": dataset.category,
            "items": len(evaluation.table.items),
            "rows": len(evaluation.table),
            "assumed_fps": evaluation.assumed_fps,
            "restarts": {item.name: list(item.restarts) for item in evaluation.table.items if item.restarts},
            "split_seed": None if dataset.split is None else dataset.split.classes.seed,
            "fingerprint": evaluation.fingerprint,
        },
        "seconds_per_unit": evaluation.seconds_per_unit,
        "bundle": evaluation.bundle,
    }


def _correct(correct: Share | None, *, is_anomalous: bool) -> dict[str, object]:
    name = "detected" if is_anomalous else "passed"
    if correct is None or not correct.total:
        return {name: None}
    share = correct.count / correct.total
    return {name: correct.count, f"{name}_share": share, "interval": [correct.low / 100, correct.high / 100]}


def _frames_json(frames: VideoMetrics) -> dict[str, object]:
    return {
        "smoothing": frames.smoothing,
        "EER_threshold": frames.eer_threshold,
        "videos": [
            {
                "item": row.name,
                "frames": row.frames,
                "not_scored": row.not_scored,
                "anomalous": row.anomalous,
                "frame_AUC": row.auc,
                "reason": row.reason,
            }
            for row in frames.videos
        ],
    }
