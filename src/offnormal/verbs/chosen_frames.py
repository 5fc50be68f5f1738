"""Which frames of an evaluation are shown, read again with their maps: peaks, false alarms and misses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
from PIL import Image
from torch import Tensor

from offnormal.bundle import Bundle
from offnormal.config.score import EvaluateConfig
from offnormal.data.clips import ClipMaker, clip_maker
from offnormal.data.frame_cache import LaidFrame
from offnormal.data.frame_masks import open_masks
from offnormal.data.geometry import unlay
from offnormal.data.loader import stack, to_pixels
from offnormal.data.video_loader import join_frames
from offnormal.report.remade import Remade
from offnormal.report.video_picture import FrameRole, VideoPicture
from offnormal.scoring import Scorer, choose_device
from offnormal.sources.privacy import paint
from offnormal.sources.video import VideoReader, open_video
from offnormal.types import Frame, InputSpec
from offnormal.verbs.loading import input_of
from offnormal.verbs.shown import shown
from offnormal.video_evaluation import ScoredVideo, VideoEvaluation

_EACH = 8  # pictures of a kind at most
_SLACK = 2  # frames read before what the clock asks for


def choose_frames(bundle: Bundle, evaluation: VideoEvaluation, config: EvaluateConfig) -> list[VideoPicture]:
    """The highest frames of false alarms, of spans that were missed, and of whole videos, with their maps."""
    videos = {video.name: video for video in evaluation.videos}
    scorer = Scorer(bundle.detector, choose_device(config.device, config.threads))
    spec = input_of(bundle, config.mask)
    return [
        picture
        for role, name, frame in _chosen(evaluation, videos)
        if (picture := _picture(scorer, spec, videos[name], role, frame, config.fps)) is not None
    ]


def _chosen(evaluation: VideoEvaluation, videos: dict[str, ScoredVideo]) -> Iterator[tuple[FrameRole, str, int]]:
    operation = evaluation.operation
    shown: set[tuple[str, int]] = set()
    if operation is not None:
        false = [alarm for alarm in operation.alarms if alarm.false]
        false.sort(key=lambda alarm: -videos[alarm.video].scores.scores[alarm.peak])
        for alarm in false[:_EACH]:
            shown.add((alarm.video, alarm.peak))
            yield "false_alarm", alarm.video, alarm.peak
        missed = [span for span in operation.spans if span.scored and span.delay_s is None]
        missed.sort(key=lambda span: span.start_s - span.end_s)  # the longest first
        for span in missed[:_EACH]:
            scores = videos[span.video].scores.scores[span.start : span.stop]
            yield "miss", span.video, span.start + int(np.nanargmax(scores))
    highest = sorted(
        ((peak.score, video.name, peak.frame) for video in evaluation.videos for peak in video.peaks[:1]), reverse=True
    )
    for _, name, frame in highest[:_EACH]:
        if (name, frame) not in shown:
            yield "peak", name, frame


def _picture(
    scorer: Scorer, spec: InputSpec, video: ScoredVideo, role: FrameRole, index: int, fps: float | None
) -> VideoPicture | None:
    with open_video(video.video.path, fps=fps if video.video.path.is_dir() else None) as reader:
        clip = _clip_of(reader, spec, index)
        frame = next((frame for frame in clip if frame.index == index), None)
    if frame is None:
        return None  # a damaged stretch that reads otherwise after a seek
    size = (frame.image.shape[0], frame.image.shape[1])
    return VideoPicture(
        role=role,
        video=video.name,
        frame=index,
        time_s=frame.time_s,
        score=float(video.scores.scores[index]),
        image=frame.image,
        map=_map_of(scorer, clip, index, size),
        remade=_remade(scorer, clip, index, size),
        mask=_mask_of(video, index),
        label=None if video.scores.labels is None else int(video.scores.labels[index]),
    )


def _clip_of(reader: VideoReader, spec: InputSpec, index: int) -> list[Frame]:
    """The frames from which a clip that speaks of one of them can be made, that frame among them."""
    after = max((-1 - (target if target < 0 else target - spec.frames) for target in spec.targets), default=0)
    step = 1 if spec.fps is None or reader.info.fps is None else math.ceil(reader.info.fps / spec.fps)
    start = max(0, index - (spec.frames - 1) * step - _SLACK)
    found = reader.frames(start, index + after * step + 1)
    return [replace(frame, image=paint(frame.image, spec.mask)) for frame in found]


def _map_of(scorer: Scorer, frames: list[Frame], index: int, size: tuple[int, int]) -> np.ndarray | None:
    """(H, W) at the frame's own size: the mean over clips that speak of it, a hop apart; None without a map."""
    maps = []
    spec = scorer.detector.input
    for places, pixels in islice(_clips_about(spec, frames, index), 0, None, spec.hop):
        found = scorer.score(pixels).map
        if found is None:
            return None
        maps += [found[place] for place in places]
    return unlay(np.mean(maps, 0), size, spec) if maps else None


def _remade(scorer: Scorer, frames: list[Frame], index: int, size: tuple[int, int]) -> Remade | None:
    """The frame as the detector expects it; None where it says nothing of the kind."""
    spec = scorer.detector.input
    for places, pixels in _clips_about(spec, frames, index):
        made = scorer.reconstruct(pixels)
        if made is not None and spec.targets[places[0]] % spec.frames == spec.frames - 1:
            items = scorer.items_at(pixels)
            return Remade(frame=shown(made[0], size, spec), items=None if items is None else items[0])
    return None


def _clips_about(spec: InputSpec, frames: list[Frame], index: int) -> Iterator[tuple[list[int], Tensor]]:
    """Pixels (1, ...) of the clips that speak of a frame, and which of their targets it is."""
    if spec.sampling == "uniform" or not spec.targets:
        return
    maker: ClipMaker[LaidFrame] = clip_maker(replace(spec, hop=1))
    for frame in frames:
        laid = LaidFrame(frame.index, frame.time_s, to_pixels(Image.fromarray(frame.image), spec), None)
        for clip in maker.push(laid):
            if places := [place for place, target in enumerate(clip.targets) if target.index == index]:
                yield places, stack([join_frames([part.pixels for part in clip.frames])])


def _mask_of(video: ScoredVideo, index: int) -> np.ndarray | None:
    if video.video.masks is None:
        return None
    with open_masks(video.video.masks) as masks:
        return masks[index] if index < len(masks) else None
