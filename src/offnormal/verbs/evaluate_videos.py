"""offnormal evaluate on videos: bundle x labelled footage -> frame metrics, alarms, scores table, report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from offnormal.bundle import Bundle
from offnormal.calibration.calibration import Calibration
from offnormal.config import EvaluateConfig
from offnormal.data.frame_masks import frame_labels, open_masks
from offnormal.data.video_dataset import VideoDataset
from offnormal.errors import DataError
from offnormal.metrics.accumulate import PixelScores
from offnormal.metrics.item_use import ItemUse
from offnormal.quantities import seconds
from offnormal.scoring import Scored, Scorer, VideoScores, choose_device, score_videos
from offnormal.types import InputSpec, Video
from offnormal.verbs.loading import Progress, input_of, load_videos
from offnormal.video_evaluation import NotScored, PeakFrame, ScoredVideo, VideoEvaluation, judge_videos

PEAKS = 4  # frames of each video kept with their maps
_APART = 50  # frames between two of them at least


def evaluate_videos(
    bundle: Bundle, dataset: VideoDataset, config: EvaluateConfig, progress: Progress | None = None
) -> VideoEvaluation:
    """Score every frame of the test videos and compute every metric that labels and masks allow.

    Maps are not kept but for a few frames: pixel metrics gather them in bounded memory. DataError when there is
    nothing to test on.
    """
    if not dataset.test:
        raise DataError(f"{dataset.root}: no test videos; expected some in test (or --test DIR)")
    videos = [_with_labels(video) for video in dataset.test]
    why_not = _without_pixels(videos, bundle.detector.input)
    gather = PixelScores(max_pixels=config.max_pixels) if why_not is None else None
    ignored = None if bundle.detector.ignored is None else bundle.detector.ignored.cpu().numpy()

    items = ItemUse()

    def each(scored: Scored) -> None:
        if scored.scores.recalled is not None:  # a clip has the label of the last frame that it speaks of
            items.update(scored.scores.recalled, [sample.label for sample in scored.samples])
        if gather is not None and scored.scores.map is not None and scored.masks is not None:
            gather.update(scored.masks, scored.scores.map, ignore=ignored)

    loader = load_videos(
        videos,
        input_of(bundle, config.mask),
        config,
        config,
        progress=progress,
        what=f"evaluate on {dataset.name}",
        masks=gather is not None,
    )
    scorer = Scorer(bundle.detector, choose_device(config.device, config.threads))
    start = time.perf_counter()
    found = [
        _scored_video(scores, bundle.calibration)
        for scores in score_videos(scorer, loader, hold=config.hold, peaks=PEAKS, apart=_APART, each=each)
    ]
    taken = time.perf_counter() - start
    if not found:
        raise DataError(f"{dataset.root}: none of the {len(videos)} test videos could be read")
    frames = sum(len(video.scores.scores) for video in found)
    return judge_videos(
        dataset,
        found,
        pixel=gather.compute() if gather is not None else None,
        calibration=bundle.calibration,
        missing={} if why_not is None else {"pixel metrics": why_not},
        skipped=loader.skipped,
        bundle=bundle.hash,
        fingerprint=dataset.fingerprint("test"),
        smooth_s=None if config.smooth is None else seconds(config.smooth),
        merge_gap_s=seconds(config.merge_gap),
        seconds_per_frame=taken / max(1, frames),
        items=items.compute(),
    )


def _with_labels(video: Video) -> Video:
    """The video with the labels that its masks give, where it has no others."""
    if video.labels is not None or video.masks is None:
        return video
    with open_masks(video.masks) as masks:
        labels = frame_labels(masks)
    return replace(video, labels=labels)


def _without_pixels(videos: Sequence[Video], spec: InputSpec) -> str | None:
    """Why pixel metrics cannot be computed; None when they can."""
    if not spec.targets:
        return "the detector scores clips as a whole"
    if all(video.masks is None for video in videos):
        return "there are no masks"
    bare = [video.name for video in videos if video.masks is None and (video.labels is None or video.labels.any())]
    if bare:
        return f"{len(bare)} videos with anomalies, or without labels, have no masks: {', '.join(bare[:5])}"
    return None


def _scored_video(found: VideoScores, calibration: Calibration | None) -> ScoredVideo:
    ended, score = found.ended, found.aligned.score
    labels = ended.video.labels
    if ended.video.label is not None:
        labels = np.full(len(score), ended.video.label, np.uint8)
    if labels is not None and len(labels) != len(score):
        if len(labels) < len(score):
            raise DataError(
                f"video {ended.video.name}: {len(labels)} labels for {len(score)} frames; expected one label a frame"
            )
        labels = labels[: len(score)]  # of a truncated file; the reader has warned
    tail = None
    if calibration is not None:
        tail = np.full(len(score), np.nan)
        scored = np.isfinite(score)
        tail[scored] = calibration.tail_probability(score[scored].astype(np.float64))
    return ScoredVideo(
        video=ended.video,
        scores=ended.scores(score, labels),
        tail_probability=tail,
        not_scored=tuple(NotScored(*span) for span in found.aligned.reasons),
        parts=found.parts,
        peaks=tuple(PeakFrame(peak.frame, peak.score, peak.map) for peak in found.peaks),
        warnings=ended.warnings,
    )
