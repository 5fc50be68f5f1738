"""offnormal calibrate: other normal pictures or footage -> a new threshold for a fitted bundle."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from offnormal.bundle import Bundle
from offnormal.calibration.calibration import Calibration, calibrate_scores
from offnormal.calibration.footage import calibrate_footage
from offnormal.config import CalibrateConfig
from offnormal.data.dataset import Dataset, Skipped
from offnormal.data.open import open_datasets
from offnormal.data.video_dataset import VideoDataset
from offnormal.errors import CalibrationError, UsageError
from offnormal.metrics.video import FrameScores
from offnormal.scoring import Scored, Scorer, choose_device, map_peaks, score_videos
from offnormal.sources.privacy import read_privacy_mask
from offnormal.types import InputSpec, Rate
from offnormal.verbs.loading import STRETCHES, Progress, load_pictures, load_videos
from offnormal.verbs.predict_clips import classes_known, clips_named

log = logging.getLogger(__name__)


def calibrate_bundle(
    bundle: Bundle, config: CalibrateConfig, progress: Progress | None = None
) -> tuple[Calibration, list[Skipped]]:
    """Score normals that the detector has not learnt from and put the new calibration into the bundle.

    A bundle that lies on disk gets the new calibration.json at once, in one step; a rate that cannot be promised
    is refused (CalibrationError) and the old calibration stays.
    """
    if config.normals is None:
        raise UsageError(
            "calibrate needs normal pictures or videos that the detector has not learnt from: --normals DIR"
        )
    scorer = Scorer(bundle.detector, choose_device(config.device, config.threads))
    rate = Rate.parse(config.rate) if config.rate is not None else None
    if bundle.detector.input.of_whole_video:
        dataset: Dataset | VideoDataset = _clips(config, classes_known(bundle))
    else:
        (dataset,) = open_datasets(normal=config.normals, group_by=config.group_by)
    _refuse_known(bundle, dataset)
    if isinstance(dataset, VideoDataset) and bundle.detector.input.of_whole_video:
        calibration, skipped = _from_clips(bundle, scorer, dataset, rate, config, progress)
    elif isinstance(dataset, VideoDataset):
        calibration, skipped = _from_videos(bundle, scorer, dataset, rate, config, progress)
    else:
        calibration, skipped = _from_pictures(bundle, scorer, dataset, rate, config, progress)
    mask = _input(bundle, config).mask
    if mask != bundle.detector.input.mask:
        log.warning("the detector was fitted without this privacy mask: fit it with --mask for better scores")
        calibration = replace(calibration, mask=mask)
    bundle.replace_calibration(calibration)
    return calibration, skipped


def _input(bundle: Bundle, config: CalibrateConfig) -> InputSpec:
    """The detector's input, with another privacy mask where one is given."""
    spec = bundle.detector.input
    return spec if config.mask is None else replace(spec, mask=read_privacy_mask(config.mask))


def _from_pictures(
    bundle: Bundle,
    scorer: Scorer,
    dataset: Dataset,
    rate: Rate | None,
    config: CalibrateConfig,
    progress: Progress | None,
) -> tuple[Calibration, list[Skipped]]:
    loader = load_pictures(dataset.train, _input(bundle, config), config, progress=progress, what="calibrate")
    scores: list[np.ndarray] = []
    peaks: list[np.ndarray] = []
    groups: list[str | None] = []
    for scored in scorer.over(loader):
        scores.append(scored.scores.score)
        peaks.append(map_peaks(scored.scores))
        groups += [sample.group for sample in scored.samples]
    calibration = calibrate_scores(
        np.concatenate([np.zeros(0), *scores]),
        np.concatenate([np.zeros(0), *peaks]),
        rate=rate,
        kind="held_out",
        bundle=bundle.hash,
        groups=groups,
    )
    return calibration, loader.skipped


def _clips(config: CalibrateConfig, known: Collection[str]) -> VideoDataset:
    assert config.normals is not None
    clips = tuple(clips_named([config.normals], known=known))
    return VideoDataset(name=config.normals.name, layout="class_folders", root=config.normals, train=clips).grouped(
        config.group_by
    )


def _from_clips(
    bundle: Bundle,
    scorer: Scorer,
    dataset: VideoDataset,
    rate: Rate | None,
    config: CalibrateConfig,
    progress: Progress | None,
) -> tuple[Calibration, list[Skipped]]:
    """One score a clip; clips of one original count as alike."""
    loader = load_videos(dataset.train, _input(bundle, config), config, config, progress=progress, what="calibrate")
    found = [(scored.scores.score, [sample.group for sample in scored.samples]) for scored in scorer.over(loader)]
    calibration = calibrate_scores(
        np.concatenate([np.zeros(0), *(scores for scores, _ in found)]),
        None,
        rate=rate,
        kind="held_out",
        bundle=bundle.hash,
        groups=[group for _, groups in found for group in groups],
        things="clips",
    )
    return calibration, loader.skipped


def _from_videos(
    bundle: Bundle,
    scorer: Scorer,
    dataset: VideoDataset,
    rate: Rate | None,
    config: CalibrateConfig,
    progress: Progress | None,
) -> tuple[Calibration, list[Skipped]]:
    """By a share of frames, whole videos being groups, or by alarms in a time."""
    highest: dict[Path, list[tuple[np.ndarray, np.ndarray]]] = {}

    def each(scored: Scored) -> None:
        found = map_peaks(scored.scores).reshape(len(scored.samples), -1)
        for sample, row, frames in zip(
            scored.samples, found, scored.frames if scored.frames is not None else (), strict=True
        ):
            highest.setdefault(sample.path, []).append((row, frames[-len(row) :]))

    loader = load_videos(dataset.train, _input(bundle, config), config, config, progress=progress, what="calibrate")
    series, peaks = [], []
    for found in score_videos(scorer, loader, each=each):
        series.append(found.ended.scores(found.aligned.score))
        top = np.full(len(found.aligned.score), np.nan)
        for row, frames in highest.pop(found.ended.video.path, ()):
            top[frames] = np.fmax(top[frames], row)
        peaks.append(top)
    if rate is not None and not rate.is_share:
        calibration = calibrate_footage(series, peaks, rate=rate, kind="held_out", bundle=bundle.hash)
        return calibration, loader.skipped
    kept = [np.flatnonzero(found.scored) for found in series]
    calibration = calibrate_scores(
        np.concatenate([np.zeros(0), *(found.scores[here] for found, here in zip(series, kept, strict=True))]),
        np.concatenate([np.zeros(0), *(top[here] for top, here in zip(peaks, kept, strict=True))]),
        rate=rate,
        kind="held_out",
        bundle=bundle.hash,
        groups=_groups(series, kept),
        things="frames",
    )
    return calibration, loader.skipped


def _groups(series: Sequence[FrameScores], kept: Sequence[np.ndarray]) -> list[str]:
    """What each scored frame belongs to: its video, or a stretch of the only one."""
    if len(series) > 1:
        return [found.name for found, frames in zip(series, kept, strict=True) for _ in frames]
    return [f"{found.name} {i * STRETCHES // len(found.scores)}" for found in series for i in kept[0]]


def _refuse_known(bundle: Bundle, dataset: Dataset | VideoDataset) -> None:
    """CalibrationError when the detector has learnt from some of the data: their scores would flatter."""
    learnt = set(bundle.card.get("data", {}).get("contents", ()))
    known = learnt & set(dataset.contents())
    if known:
        things = "videos" if isinstance(dataset, VideoDataset) else "pictures"
        raise CalibrationError(
            f"{len(known)} of {len(dataset.train)} {things} are among those the detector was fitted on: "
            f"their scores flatter; give normal {things} that it has not seen"
        )
