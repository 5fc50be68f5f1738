"""offnormal calibrate: other normal images, footage, or clips -> a new threshold for a fitted bundle."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from offnormal.bundle import Bundle
from offnormal.calibration.calibration import Calibration, calibrate_scores
from offnormal.config.score import CalibrateConfig
from offnormal.data.batches import Loader
from offnormal.data.dataset import Dataset, Skipped
from offnormal.data.open import open_datasets
from offnormal.data.resolve import resolve_items
from offnormal.errors import CalibrationError, UsageError
from offnormal.evaluation.decision_rule import DecisionRule
from offnormal.evaluation.tabulate import tabulate
from offnormal.evaluation.units import TRAITS
from offnormal.events.budget import budget_events
from offnormal.events.machine import EventRules
from offnormal.metrics.video import FrameScores
from offnormal.scoring import ItemScores, Scored, Scorer, choose_device, map_peaks, score_items, was_skipped
from offnormal.sources.privacy import read_privacy_mask
from offnormal.types import Unit
from offnormal.verbs.loading import STRETCHES, Progress, known_classes, load_items

log = logging.getLogger(__name__)

_NOUNS: dict[Unit, Literal["images", "frames", "clips"]] = {
    Unit.IMAGE: "images",
    Unit.FRAME: "frames",
    Unit.CLIP: "clips",
}


@dataclass(slots=True)
class _Normals:
    """Scores of normals, item by item: one each of images and clips, one for each frame of a video."""

    scores: list[np.ndarray] = field(default_factory=list)  # (R,) each, NaN where a frame has none
    peaks: list[np.ndarray] = field(default_factory=list)  # (R,) highest value of the map
    groups: list[str | None] = field(default_factory=list)  # of each item
    series: list[FrameScores] = field(default_factory=list)  # of videos


def calibrate_bundle(
    bundle: Bundle, config: CalibrateConfig, progress: Progress | None = None
) -> tuple[Calibration, list[Skipped]]:
    """Score normals that the detector has not learned from and put the new calibration into the bundle.

    A bundle on disk gets the new calibration.json at once, in one step; a rate that the data cannot support is refused
    (CalibrationError) and the old calibration stays.
    """
    if config.normal is None:
        raise UsageError("calibrate needs normal images or videos that the detector has not learned from: --normal DIR")
    dataset = _dataset(bundle, config)
    unit = bundle.input.unit(dataset.is_video)
    _refuse_known(bundle, dataset, unit)
    mask = bundle.detector.input.mask if config.mask is None else read_privacy_mask(config.mask)
    loader = load_items(
        dataset.train,
        replace(bundle.detector.input, mask=mask),
        config,
        config,
        progress=progress,
        what="calibrate",
    )
    normals = _score(Scorer(bundle.detector, choose_device(config.device, config.threads)), loader, unit, config.fps)
    rate = config.rate
    if unit is Unit.FRAME and rate is not None and not rate.is_share:
        calibration = budget_events(
            normals.series,
            normals.peaks,
            rate=rate,
            rules=EventRules.of(config.rules),
            hysteresis=config.rules.hysteresis,
            kind="held_out",
            bundle=bundle.hash,
        ).calibration
    else:
        scored = [np.flatnonzero(~np.isnan(scores)) for scores in normals.scores]
        calibration = calibrate_scores(
            _at(normals.scores, scored),
            None if unit is Unit.CLIP else _at(normals.peaks, scored),
            rate=rate,
            kind="held_out",
            bundle=bundle.hash,
            groups=_groups(normals, scored) if unit is Unit.FRAME else normals.groups,
            things=_NOUNS[unit],
            times_s=_times(normals, scored),
        )
    if mask != bundle.detector.input.mask:
        log.warning("the detector was fitted without this privacy mask: fit it with --mask for better scores")
        calibration = replace(calibration, mask=mask)
    bundle.replace_calibration(calibration)
    return calibration, loader.skipped


def _dataset(bundle: Bundle, config: CalibrateConfig) -> Dataset:
    assert config.normal is not None
    if not bundle.detector.input.of_whole_video:
        return open_datasets(normal=config.normal, group_by=config.group_by)[0]
    clips = tuple(resolve_items([str(config.normal)], wants_clips=True, known_classes=known_classes(bundle)))
    root = config.normal
    return Dataset(name=root.name, layout="class_folders", root=root, train=clips).grouped(config.group_by)


def _score(scorer: Scorer, loader: Loader, unit: Unit, fps: float | None) -> _Normals:
    """The scores of normals, without files that turn out to be damaged; fps: of videos without a clock."""
    of_batches: dict[str, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)

    def on_batch(scored: Scored) -> None:
        if scored.frames is None or unit is not Unit.FRAME:
            return
        peaks = map_peaks(scored.scores).reshape(len(scored.samples), -1)
        for sample, row, frames in zip(scored.samples, peaks, scored.frames, strict=True):
            of_batches[sample.item.address].append((row, frames[-len(row) :]))

    done: list[tuple[ItemScores, np.ndarray]] = []
    for scores in score_items(scorer, loader, unit=unit, on_batch=on_batch):
        peaks = scores.score if scores.map is None else scores.map.max(keepdims=True).reshape(1)
        if unit is Unit.FRAME:
            peaks = np.full(len(scores.score), np.nan)
            for row, frames in of_batches.pop(scores.item.address, ()):
                peaks[frames] = np.fmax(peaks[frames], row)
        done.append((replace(scores, map=None), peaks))
    normals = _Normals()
    for scores, peaks in done:
        if was_skipped(scores.item, loader.skipped):
            continue
        normals.scores.append(scores.score)
        normals.peaks.append(peaks)
        normals.groups.append(scores.item.group)
        if unit is Unit.FRAME:
            normals.series += tabulate(scores, unit, DecisionRule(None, None)).series(fps=fps)
    return normals


def _at(values: list[np.ndarray], rows: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(own[at] for own, at in zip(values, rows, strict=True))])


def _groups(normals: _Normals, rows: list[np.ndarray]) -> list[str | None]:
    """What each scored frame belongs to: its video, or a stretch of the only one."""
    names = [video.name for video in normals.series]
    if len(names) > 1:
        return [name for name, frames in zip(names, rows, strict=True) for _ in frames]
    return [
        f"{name} {frame * STRETCHES // len(scores)}"
        for name, scores, frames in zip(names, normals.scores, rows, strict=True)
        for frame in frames
    ]


def _times(normals: _Normals, rows: list[np.ndarray]) -> np.ndarray | None:
    """Times of the scored frames; None for images and clips, and where a video has no clock."""
    if not normals.series or not all(video.clock.has_clock for video in normals.series):
        return None
    return np.concatenate([video.clock.times_s[at] for video, at in zip(normals.series, rows, strict=True)])


def _refuse_known(bundle: Bundle, dataset: Dataset, unit: Unit) -> None:
    """CalibrationError when the detector has learned from some of the data: their scores would be too low."""
    learned = set(bundle.card.get("data", {}).get("contents", ()))
    if known := learned & set(dataset.contents()):
        noun = TRAITS[unit].item[1]
        raise CalibrationError(
            f"{len(known)} of {len(dataset.train)} {noun} are among those the detector was fitted on: their scores are "
            f"optimistically biased; give normal {noun} that it has not seen"
        )
