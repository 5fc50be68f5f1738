"""What differs between images, frames, and clips: their nouns, their metrics, and what a draw consists of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from numpy.typing import ArrayLike

from offnormal.metrics import image
from offnormal.metrics.video import METRICS as FRAME_METRICS
from offnormal.types import Unit

Noun = tuple[str, str]  # one, several
PIXEL_METRICS = ("pixel_AUROC", "pixel_AUPRO", "pixel_F1")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTraits:
    """The words and numbers of one unit."""

    noun: Noun  # what gets one score
    item: Noun  # what a dataset consists of
    metrics: dict[str, str]  # name -> what it measures, in the order of tables
    pixel: tuple[str, ...]  # metrics of maps
    drawn: dict[str, str]  # metric -> name in `metrics.bootstrap`
    group: str  # what related items are called, in the plural
    measures: tuple[Callable[[ArrayLike, ArrayLike], float], ...]  # of labels and scores (R,); (): see metrics.video


_AUROC = "how often an anomalous {} scores above a normal one"
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
                    "error rate where as many normal frames are called anomalous as anomalous ones are missed",
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


def measure(unit: Unit, labels: ArrayLike, scores: ArrayLike) -> dict[str, float]:
    """The metrics of images or clips from labels and scores (R,); DataError as in `metrics.image`.

    >>> measure(Unit.CLIP, [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])["clip_AUROC"]
    0.75
    """
    traits = TRAITS[unit]
    return {name: of(labels, scores) for name, of in zip(traits.metrics, traits.measures, strict=True)}


def why_no_metrics(unit: Unit, labels: ArrayLike) -> str | None:
    """Why labels (R,) allow no metrics; None where they do.

    >>> why_no_metrics(Unit.IMAGE, [1, 1])
    'only anomalous images: both normal and anomalous ones are needed'
    """
    classes = {float(label) for label in list(labels)}  # type: ignore[arg-type]
    if classes == {0.0, 1.0}:
        return None
    only = f"only {'anomalous' if 1.0 in classes else 'normal'} {TRAITS[unit].noun[1]}" if classes else "no labels"
    return f"{only}: both normal and anomalous ones are needed"
