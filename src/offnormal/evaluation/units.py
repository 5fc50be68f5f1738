"""Properties of images, frames, and clips as units: nouns, metrics, and bootstrap groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from numpy.typing import ArrayLike

from offnormal.evaluation.table import ScoreTable
from offnormal.metrics import image
from offnormal.metrics.video import METRICS as FRAME_METRICS
from offnormal.metrics.video import FrameScores, VideoMetrics, video_metrics
from offnormal.types import Unit

PIXEL_METRICS = ("pixel_AUROC", "pixel_AUPRO", "pixel_F1")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTraits:
    """Nouns and metrics of one unit."""

    noun: tuple[str, Literal["images", "frames", "clips"]]  # unit, singular and plural
    item: tuple[str, str]  # item, singular and plural
    metrics: dict[str, str]  # name -> description, in the order of tables
    pixel: tuple[str, ...]  # metrics of maps
    drawn: dict[str, str]  # metric -> name in `metrics.bootstrap`
    group: str  # noun for groups of items, plural
    measures: tuple[Callable[[ArrayLike, ArrayLike], float], ...]  # of labels and scores (R,); (): `video_metrics`


_AUROC = "probability that an anomalous {} scores above a normal one"
_AP = "mean precision over all recalls"
TRAITS: dict[Unit, UnitTraits] = {
    Unit.IMAGE: UnitTraits(
        noun=("image", "images"),
        item=("image", "images"),
        metrics={"image_AUROC": _AUROC.format("image"), "image_AP": _AP, "image_F1": "best F1 over all thresholds"},
        pixel=PIXEL_METRICS,
        drawn={"image_AUROC": "AUC", "image_AP": "AP", "image_F1": "F1"},
        group="groups",
        measures=(image.auroc, image.average_precision, lambda labels, scores: image.best_f1(labels, scores)[0]),
    ),
    Unit.FRAME: UnitTraits(
        noun=("frame", "frames"),
        item=("video", "videos"),
        metrics=dict(
            zip(
                FRAME_METRICS,
                (
                    _AUROC.format("frame") + ", over all videos together",
                    "the same within each video, averaged",
                    "equal error rate: false-alarm rate = missed rate",
                    _AP,
                ),
                strict=True,
            )
        ),
        pixel=PIXEL_METRICS[:2],
        drawn={"frame_AUC_micro": "AUC", "frame_EER": "EER", "frame_AP": "AP"},
        group="videos",
        measures=(),
    ),
    Unit.CLIP: UnitTraits(
        noun=("clip", "clips"),
        item=("clip", "clips"),
        metrics={"clip_AUROC": _AUROC.format("clip"), "clip_AP": _AP},
        pixel=(),
        drawn={"clip_AUROC": "AUC", "clip_AP": "AP"},
        group="originals",
        measures=(image.auroc, image.average_precision),
    ),
}
LOWER_IS_BETTER = frozenset({"frame_EER", "frame_EER_per_video_norm"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measurement:
    """Metrics of a table of any unit."""

    metrics: dict[str, float]
    missing: dict[str, str]  # metric -> reason
    frames: VideoMetrics | None = None  # of videos scored frame by frame
    series: list[FrameScores] = field(default_factory=list)  # frames of each video


def measure(table: ScoreTable, *, fps: float | None = None, smooth_s: float | None = None) -> Measurement:
    """Compute all metrics that the labels of a table allow; DataError as in `metrics.image` and `metrics.video`.

    fps: frame rate of videos without a clock. smooth_s: see `video_metrics`.
    """
    if series := table.series(fps=fps):
        frames = video_metrics(series, smooth_sigma=smooth_s)
        return Measurement(metrics=dict(frames.metrics), missing=dict(frames.missing), frames=frames, series=series)
    labels, scores = table.label[table.labeled], table.score[table.labeled]
    if why := why_no_metrics(table.unit, labels):
        return Measurement(metrics={}, missing={f"{table.unit.value} metrics": why})
    traits = TRAITS[table.unit]
    metrics = {name: metric(labels, scores) for name, metric in zip(traits.metrics, traits.measures, strict=True)}
    return Measurement(metrics=metrics, missing={})


def why_no_metrics(unit: Unit, labels: ArrayLike) -> str | None:
    """Reason why labels (R,) allow no metrics; None: they do.

    >>> why_no_metrics(Unit.IMAGE, [1, 1])
    'only anomalous images: both normal and anomalous units are needed'
    """
    classes = {float(label) for label in list(labels)}  # type: ignore[arg-type]
    if classes == {0.0, 1.0}:
        return None
    only = f"only {'anomalous' if 1.0 in classes else 'normal'} {TRAITS[unit].noun[1]}" if classes else "no labels"
    return f"{only}: both normal and anomalous units are needed"
