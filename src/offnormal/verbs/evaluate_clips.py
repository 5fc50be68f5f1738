"""offnormal evaluate on clips scored as wholes: bundle x class folders (or labelled videos) -> one score a clip."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from offnormal.bundle import Bundle
from offnormal.calibration.calibration import Calibration
from offnormal.clip_evaluation import ClipEvaluation, ScoredClip, judge_clips, label_of
from offnormal.config.score import EvaluateConfig
from offnormal.data.clips import ClipMaker, clip_maker
from offnormal.data.video_dataset import VideoDataset, content_prefixes
from offnormal.errors import DataError, ImageError, VideoError
from offnormal.metrics.item_use import ItemUse
from offnormal.report.clip_gallery import ClipPicture
from offnormal.scoring import Scored, Scorer, choose_device
from offnormal.sources.privacy import paint
from offnormal.sources.video import open_video
from offnormal.types import ANOMALOUS, Frame, InputSpec, Mask, Video
from offnormal.verbs.loading import Progress, input_of, load_videos

_SHOWN = 6  # clips of a kind
_FRAMES = 5  # of each


def evaluate_clips(
    bundle: Bundle, dataset: VideoDataset, config: EvaluateConfig, progress: Progress | None = None
) -> ClipEvaluation:
    """Score every clip of a data set: those tested on, and of class folders those learnt from and kept back, too.

    DataError when there is nothing to test on.
    """
    if not dataset.test:
        raise DataError(f"{dataset.root}: no clips to test on; expected class folders, or videos in test")
    part_of = _parts(dataset)
    videos = {video.path: video for video in (*dataset.train, *dataset.validation, *dataset.test)}
    videos = {path: video for path, video in videos.items() if path in part_of}
    loader = load_videos(
        list(videos.values()),
        input_of(bundle, config.mask),
        config,
        config,
        progress=progress,
        what=f"evaluate {dataset.name}",
    )
    scorer = Scorer(bundle.detector, choose_device(config.device, config.threads))
    rows: list[ScoredClip] = []
    vectors: dict[str, list[np.ndarray]] = {"embedding": [], "latent": []}
    items = ItemUse()
    start = time.perf_counter()
    for scored in scorer.over(loader):
        rows += clip_rows(scored, videos, part_of, bundle.calibration)
        if scored.scores.recalled is not None:
            items.update(scored.scores.recalled, [sample.label for sample in scored.samples])
        for name, found in vectors.items():
            if (values := getattr(scored.scores, name)) is not None:
                found.append(values)
    taken = time.perf_counter() - start
    bad = {skipped.path for skipped in loader.skipped}
    whole = [number for number, row in enumerate(rows) if row.video.path not in bad]
    if not whole:
        raise DataError(f"{dataset.root}: none of the {len(videos)} clips could be read")
    embeddings, latents = (np.concatenate(found)[whole] if found else None for found in vectors.values())
    return judge_clips(
        dataset,
        [rows[number] for number in whole],
        calibration=bundle.calibration,
        skipped=loader.skipped,
        bundle=bundle.hash,
        fingerprint=dataset.fingerprint("test"),
        embeddings=embeddings,
        latents=latents,
        seconds_per_clip=taken / len(whole),
        items=items.compute(),
    )


def clip_rows(
    scored: Scored, videos: dict[Path, Video], part_of: dict[Path, str], calibration: Calibration | None
) -> Iterator[ScoredClip]:
    """The clips of a batch, each with its score, tail probability and verdict."""
    tails = None if calibration is None else calibration.tail_probability(scored.scores.score.astype(np.float64))
    for number, (sample, score) in enumerate(zip(scored.samples, scored.scores.score.tolist(), strict=True)):
        video = videos[sample.path]
        yield ScoredClip(
            video=video,
            part=part_of[sample.path],
            label=label_of(video),
            score=score,
            tail_probability=None if tails is None else float(tails[number]),
            anomalous=None if calibration is None else score > calibration.threshold,
            parts={name: float(values[number]) for name, values in scored.scores.parts.items()},
        )


def refuse_learnt(bundle: Bundle, dataset: VideoDataset) -> None:
    """DataError when clips that were divided anew are tested on though the detector knows them."""
    learnt = set(bundle.card.get("data", {}).get("contents", ()))
    known = learnt & set(content_prefixes(dataset.test))
    if known:
        raise DataError(
            f"{len(known)} of the {len(dataset.test)} clips to test on (or exact copies of them) were learnt from, or "
            "set the threshold: name the run's folder, whose split.json says which are which, not a copy of its bundle "
            "alone; and keep each clip once"
        )


def choose_clips(evaluation: ClipEvaluation, fps: float | None, mask: Mask | None) -> list[ClipPicture]:
    """Some frames of the clips that fared worst: anomalous ones that score low, normal ones that score high.

    mask: painted over all of them.
    """
    known = sorted(evaluation.labelled, key=lambda row: row.score)
    misses = [row for row in known if row.label == ANOMALOUS][:_SHOWN]
    alarms = [row for row in reversed(known) if row.label != ANOMALOUS][:_SHOWN]
    found = [(role, row) for role, rows in (("miss", misses), ("false_alarm", alarms)) for row in rows]
    return [ClipPicture(role, row, images) for role, row in found if (images := _some_frames(row.video, fps, mask))]  # type: ignore[arg-type]


def _some_frames(video: Video, fps: float | None, mask: Mask | None) -> tuple[np.ndarray, ...]:
    """Frames (H, W, 3) spread over a video; () when it cannot be read any more."""
    try:
        with open_video(video.path, fps=fps if video.path.is_dir() else None) as reader:
            return tuple(paint(frame.image, mask) for frame in _spread(reader.frames(), reader.info.frames))
    except (VideoError, ImageError):
        return ()


def _spread(frames: Iterable[Frame], length: int | None) -> tuple[Frame, ...]:
    maker: ClipMaker[Frame] = clip_maker(
        InputSpec(size=(1, 1), frames=_FRAMES, sampling="uniform", targets=()), length=length if length else None
    )
    for frame in frames:
        maker.push(frame)
    return next((clip.frames for clip in maker.end()), ())


def _parts(dataset: VideoDataset) -> dict[Path, str]:
    """Part by path: of divided clips all of them, else those tested on alone."""
    tested = {video.path: "anomalous" if label_of(video) == ANOMALOUS else "test" for video in dataset.test}
    if dataset.split is None:
        return tested
    others = {video.path: "train" for video in dataset.train} | {v.path: "validation" for v in dataset.validation}
    return others | tested
