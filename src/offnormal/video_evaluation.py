"""What is known after videos were scored frame by frame: metrics, alarms at the threshold, the tables. Pure numpy."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from offnormal.calibration.calibration import Calibration
from offnormal.data.dataset import Skipped
from offnormal.data.video_dataset import VideoDataset
from offnormal.files import new_file
from offnormal.metrics.accumulate import PixelResult
from offnormal.metrics.item_use import ItemShares
from offnormal.metrics.operational import Operation, operate
from offnormal.metrics.video import METRICS, FrameScores, VideoMetrics, video_metrics
from offnormal.types import Video

HEADLINE = ("frame_AUC_micro", "frame_AUC_macro", "frame_EER", "frame_AP", "pixel_AUROC", "pixel_AUPRO")


class NotScored(NamedTuple):
    """Frames without a score of their own, and why."""

    start: int
    stop: int  # exclusive
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class PeakFrame:
    """One of the frames of a video with the highest scores."""

    frame: int
    score: float
    map: np.ndarray | None  # (H, W) float32 at input size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredVideo:
    """One test video with the scores of its frames."""

    video: Video
    scores: FrameScores  # (T,) NaN where there is none; labels; times
    tail_probability: np.ndarray | None = None  # (T,) NaN where not scored; None: not calibrated
    not_scored: tuple[NotScored, ...] = ()
    parts: dict[str, np.ndarray] = field(default_factory=dict)  # (T,) each
    peaks: tuple[PeakFrame, ...] = ()  # highest first, some seconds apart
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in the data set."""
        return self.video.name


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoEvaluation:
    """Everything that is known after scoring the test videos of a data set; the report draws it."""

    dataset: VideoDataset
    videos: list[ScoredVideo]
    metrics: dict[str, float]  # names of DESIGN, only those that labels and masks allow
    missing: dict[str, str]  # metric -> why it could not be computed
    detail: VideoMetrics
    pixel: PixelResult | None
    calibration: Calibration | None
    operation: Operation | None  # alarms at the calibrated threshold; None: there is none, or no video has a clock
    skipped: list[Skipped]
    bundle: str  # hash of the bundle that scored
    fingerprint: str  # of the test videos
    seconds_per_frame: float | None = None  # scoring, decoding included
    items: ItemShares | None = None  # use of the detector's memory; None: it has none
    parts: dict[str, dict[str, float]] = field(default_factory=dict)  # part of the score -> metrics of it alone

    @property
    def labelled(self) -> list[ScoredVideo]:
        """Videos with labels."""
        return [video for video in self.videos if video.scores.labels is not None]


def judge_videos(
    dataset: VideoDataset,
    videos: list[ScoredVideo],
    *,
    pixel: PixelResult | None,
    calibration: Calibration | None,
    missing: dict[str, str],
    skipped: list[Skipped],
    bundle: str,
    fingerprint: str,
    smooth_s: float | None = None,
    merge_gap_s: float = 1.0,
    seconds_per_frame: float | None = None,
    items: ItemShares | None = None,
) -> VideoEvaluation:
    """Every metric that labels and masks allow; `missing` says why others are not there.

    smooth_s: standard deviation in seconds of a Gaussian over time for further metrics named `_smoothed`.
    """
    series = [video.scores for video in videos]
    clocked = [found for found in series if found.clock.has_clock]
    missing = dict(missing)
    if len(clocked) < len(series):
        first = next(found.name for found in series if not found.clock.has_clock)
        reason = f"{first} has no clock: give its frames per second with --fps"
        if calibration is not None:
            missing["alarms of some videos" if clocked else "alarms"] = reason
        if smooth_s is not None:
            missing["smoothed metrics"], smooth_s = reason, None
    detail = video_metrics(series, smooth_sigma=smooth_s)
    metrics = dict(detail.metrics)
    for name, value in () if pixel is None else (("pixel_AUROC", pixel.auroc), ("pixel_AUPRO", pixel.aupro)):
        if value is not None:
            metrics[name] = value
    operation = None
    if calibration is not None and clocked:
        operation = operate(clocked, calibration.threshold, merge_gap_s=merge_gap_s)
    return VideoEvaluation(
        dataset=dataset,
        videos=videos,
        metrics=metrics,
        missing={**detail.missing, **missing},
        detail=detail,
        pixel=pixel,
        calibration=calibration,
        operation=operation,
        skipped=skipped,
        bundle=bundle,
        fingerprint=fingerprint,
        seconds_per_frame=seconds_per_frame,
        items=items,
        parts=_parts_alone(videos),
    )


def _parts_alone(videos: Sequence[ScoredVideo]) -> dict[str, dict[str, float]]:
    """Metrics of each part of the score, as if it were the score; none without labels of both kinds."""
    found = {}
    for name in sorted({name for video in videos for name in video.parts}):
        alone = [replace(video.scores, scores=video.parts[name]) for video in videos if name in video.parts]
        metrics = video_metrics(alone).metrics
        if kept := {metric: metrics[metric] for metric in METRICS if metric in metrics}:
            found[name] = kept
    return found


def video_metrics_json(evaluation: VideoEvaluation) -> dict[str, Any]:
    """What metrics.json holds: metrics, alarms at the threshold, per video, and what it all rests on."""
    calibration, operation = evaluation.calibration, evaluation.operation
    return {
        "metrics": evaluation.metrics,
        "missing": evaluation.missing,
        "smoothing": evaluation.detail.smoothing,
        "parts": evaluation.parts,
        "eer_threshold": evaluation.detail.eer_threshold,
        "pixel": asdict(evaluation.pixel) if evaluation.pixel is not None else None,
        "calibration": None if calibration is None else calibration.summary(),
        "operation": None if operation is None else operation_json(operation),
        "videos": [
            {
                "name": row.name,
                "frames": row.frames,
                "not_scored": [span._asdict() for span in video.not_scored],
                "anomalous_frames": row.anomalous,
                "frame_AUC": row.auc,
                "reason": row.reason,
                "warnings": list(video.warnings),
            }
            for row, video in zip(evaluation.detail.videos, evaluation.videos, strict=True)
        ],
        "skipped": [{"path": str(bad.path), "reason": bad.reason} for bad in evaluation.skipped],
        "data": {
            "kind": "video",
            "name": evaluation.dataset.name,
            "layout": evaluation.dataset.layout,
            "category": evaluation.dataset.category,
            "videos": len(evaluation.videos),
            "frames": sum(len(video.scores.scores) for video in evaluation.videos),
            "fingerprint": evaluation.fingerprint,
        },
        "seconds_per_frame": evaluation.seconds_per_frame,
        "bundle": evaluation.bundle,
    }


def operation_json(operation: Operation) -> dict[str, Any]:
    """Alarms at a threshold as an operator counts them."""
    return {
        "threshold": operation.threshold,
        "merge_gap_s": operation.merge_gap_s,
        "alarms": len(operation.alarms),
        "false_alarms": operation.false_alarms,
        "false_alarms_per_hour": operation.false_alarms_per_hour,
        "alarms_per_hour": operation.alarms_per_hour,
        "spans_caught": operation.caught,
        "spans_missed": operation.missed,
        "median_delay_s": operation.median_delay_s,
        "time_in_alarm": operation.time_in_alarm,
        "normal_time_in_alarm": operation.normal_time_in_alarm,
        "footage_s": operation.footage_s,
    }


def write_frame_scores(path: Path, videos: Sequence[ScoredVideo], threshold: float | None) -> None:
    """scores.csv: one row per frame of every video, empty score and a reason where a frame has none.

    Columns: video, frame, time_s, label, score, tail_probability, anomalous, not_scored, then the parts of the score.
    """
    names = sorted({name for video in videos for name in video.parts})
    with new_file(path) as partial, partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file)
        head = ["video", "frame", "time_s", "label", "score", "tail_probability", "anomalous", "not_scored"]
        table.writerow([*head, *names])
        for video in videos:
            table.writerows(_rows(video, threshold, names))


def _rows(video: ScoredVideo, threshold: float | None, names: Sequence[str]) -> list[list[Any]]:
    found = video.scores
    reasons = {frame: span.reason for span in video.not_scored for frame in range(span.start, span.stop)}
    rows = []
    for frame, score in enumerate(found.scores.tolist()):
        scored = not np.isnan(score)
        tail = video.tail_probability
        rows.append(
            [
                video.name,
                frame,
                "" if found.times_s is None else f"{found.times_s[frame]:.3f}",
                "" if found.labels is None else int(found.labels[frame]),
                f"{score:.7g}" if scored else "",
                f"{tail[frame]:.4g}" if tail is not None and scored else "",
                int(score > threshold) if threshold is not None and scored else "",
                reasons.get(frame, ""),
                *(_number(video.parts.get(name), frame) for name in names),
            ]
        )
    return rows


def _number(part: np.ndarray | None, frame: int) -> str:
    return "" if part is None or np.isnan(part[frame]) else f"{part[frame]:.7g}"
