"""The units that the report of an evaluation shows, with their images, maps, and reconstructions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from offnormal.bundle import Bundle
from offnormal.calibration.calibration import Calibration
from offnormal.config.score import EvaluateConfig
from offnormal.data.batches import clip_pixels
from offnormal.data.clips import ClipMaker, make_clip_maker
from offnormal.data.frame_cache import ResizedFrame
from offnormal.data.frame_masks import open_masks
from offnormal.data.images import frame_pixels, read_pixels, restore_size, stack
from offnormal.drawing.panels import Reconstruction
from offnormal.errors import ImageError, VideoError
from offnormal.evaluation.evaluate import Evaluation
from offnormal.report.blocks.gallery import Role, ShownUnit
from offnormal.scoring import ItemScores, Scorer, choose_device
from offnormal.sources.image import open_image, to_rgb
from offnormal.sources.mask import open_mask
from offnormal.sources.privacy import paint, paint_frame
from offnormal.sources.video import VideoReader, open_video
from offnormal.types import ANOMALOUS, Frame, InputSpec, Item, Mask, Unit

_EACH = 8  # most units per role
_CLIPS = 6
_CLIP_FRAMES = 5  # frames shown per clip
_SLACK = 2  # extra frames read before the requested time


@dataclass(slots=True)
class ExtremeImages:
    """Maps of the images that a report may show, stored while a dataset is scored: at most `_EACH` per role.

    Misses are the anomalous images with the lowest scores, false alarms the normal ones with the highest; of each
    class of anomaly the clearest detection is kept; without labels the highest scores.
    """

    calibration: Calibration | None
    _maps: dict[tuple[Role, str], list[ItemScores]] = field(default_factory=dict)

    def offer(self, scores: ItemScores) -> None:
        """Store the map of an image that is among the most extreme so far."""
        item = scores.item
        if item.is_video:
            return
        above = self.calibration is None or float(scores.score[0]) > self.calibration.threshold
        if item.label is None:
            self._store(("peak", ""), scores, _EACH)
        elif item.label != ANOMALOUS:
            if above:
                self._store(("false_alarm", ""), scores, _EACH)
        elif self.calibration is not None and not above:
            self._store(("miss", ""), scores, _EACH, highest=False)
        else:
            key: tuple[Role, str] = ("detected", item.class_name or "")
            if key in self._maps or sum(role == "detected" for role, _ in self._maps) < _EACH:
                self._store(key, scores, 1)

    def __iter__(self) -> Iterator[tuple[Role, ItemScores]]:
        for role in ("miss", "false_alarm", "detected", "peak"):
            for (group, _), images in self._maps.items():
                if group == role:
                    yield from ((group, scores) for scores in images)

    def _store(self, key: tuple[Role, str], scores: ItemScores, number: int, *, highest: bool = True) -> None:
        images = self._maps.setdefault(key, [])
        sign = -1 if highest else 1
        if len(images) == number and sign * float(scores.score[0]) >= sign * float(images[-1].score[0]):
            return
        anomaly_map = None if scores.map is None else scores.map.copy()
        images.append(replace(scores, map=anomaly_map))
        images.sort(key=lambda image: sign * float(image.score[0]))
        del images[number:]


def shown_units(
    bundle: Bundle, evaluation: Evaluation, config: EvaluateConfig, extremes: ExtremeImages
) -> list[ShownUnit]:
    """The units to show, in the order of their role.

    Images keep the maps of the pass that scored them. Which frames are false alarms or misses is known only once a
    video is scored to its end, so that their few windows are scored again: maps of all frames would not fit memory.
    """
    spec = bundle.input_with_mask(config.privacy_mask, config.max_image_pixels)
    scorer = Scorer(bundle.detector, choose_device(config.device, config.threads))
    if evaluation.unit is Unit.IMAGE:
        rows = {item.name: item.rows.start for item in evaluation.table.items}
        return [_image(scorer, spec, role, rows[scores.item.name], scores) for role, scores in extremes]
    videos = {item.name: item for item in evaluation.dataset.test}
    if evaluation.unit is Unit.CLIP:
        return list(_clips(evaluation, videos, config.fps, spec.mask))
    return [
        unit
        for role, name, frame in _frames(evaluation)
        if (unit := _frame(scorer, spec, evaluation, videos[name], role, frame, config.fps)) is not None
    ]


def _image(scorer: Scorer, spec: InputSpec, role: Role, row: int, scores: ItemScores) -> ShownUnit:
    item = scores.item
    image = paint(np.asarray(to_rgb(open_image(item.path, max_pixels=spec.max_pixels), levels=spec.levels)), spec.mask)
    size = image.shape[0], image.shape[1]
    pixels = scorer.reconstruct(stack([read_pixels(item.path, spec)]))
    return ShownUnit(
        role=role,
        row=row,
        frames=(image,),
        map=None if scores.map is None else restore_size(scores.map, size, spec),
        mask=None if item.masks is None else open_mask(item.masks.path, spec.max_pixels),
        reconstruction=None if pixels is None else Reconstruction(frame=_as_image(pixels[0], size, spec), items=None),
    )


def _as_image(pixels: np.ndarray, size: tuple[int, int], spec: InputSpec) -> np.ndarray:
    """Pixels (C, H, W) in 0-1 at input size -> RGB (H, W, 3) uint8 at the image's own; black where it was cropped."""
    channels = np.broadcast_to(pixels, (3, *pixels.shape[1:]))
    return (np.stack([restore_size(channel, size, spec) for channel in channels], -1) * 255).round().astype(np.uint8)


def _clips(
    evaluation: Evaluation, videos: dict[str, Item], fps: float | None, mask: Mask | None
) -> Iterator[ShownUnit]:
    """Frames of the worst clips: anomalous clips with low scores, normal clips with high scores."""
    table = evaluation.table
    order = sorted(np.flatnonzero(table.labeled).tolist(), key=lambda row: float(table.score[row]))
    misses = [row for row in order if table.label[row] == ANOMALOUS][:_CLIPS]
    alarms = [row for row in reversed(order) if table.label[row] != ANOMALOUS][:_CLIPS]
    chosen: list[tuple[Role, int]] = [*(("miss", row) for row in misses), *(("false_alarm", row) for row in alarms)]
    for role, row in chosen:
        if frames := _spread_frames(videos[table.items[row].name], fps, mask):
            yield ShownUnit(role=role, row=row, frames=frames)


def _spread_frames(item: Item, fps: float | None, mask: Mask | None) -> tuple[np.ndarray, ...]:
    """Frames (H, W, 3) spread over a video; () if it cannot be read any more."""
    spec = InputSpec(size=(1, 1), frames=_CLIP_FRAMES, sampling="uniform", targets=())
    try:
        with open_video(item.path, fps=fps) as reader:
            maker: ClipMaker[Frame] = make_clip_maker(spec, length=reader.info.frames or None)
            for frame in reader.frames():
                maker.push(frame)
        clip = next(iter(maker.end()), None)
    except (VideoError, ImageError):
        return ()
    return () if clip is None else tuple(paint(frame.image, mask) for frame in clip.frames)


def _frames(evaluation: Evaluation) -> Iterator[tuple[Role, str, int]]:
    """Peak frames of the highest false alarms, of the longest missed spans, and of whole videos."""
    table, report = evaluation.table, evaluation.alarms
    scores = {item.name: table.score[item.rows] for item in table.items}
    chosen: set[tuple[str, int]] = set()
    if report is not None:
        false = [alarm for alarm in report.alarms if alarm.is_false]
        false.sort(key=lambda entry: -scores[entry.video][entry.alarm.peak])
        for entry in false[:_EACH]:
            chosen.add((entry.video, entry.alarm.peak))
            yield "false_alarm", entry.video, entry.alarm.peak
        missed = [span for span in report.spans if span.is_scored and span.delay_s is None]
        missed.sort(key=lambda span: span.start_s - span.end_s)
        for span in missed[:_EACH]:
            yield "miss", span.video, span.start + int(np.nanargmax(scores[span.video][span.start : span.stop]))
    peaks = [(name, int(np.nanargmax(values))) for name, values in scores.items() if np.isfinite(values).any()]
    peaks.sort(key=lambda peak: -scores[peak[0]][peak[1]])
    yield from (("peak", *peak) for peak in peaks[:_EACH] if peak not in chosen)


def _frame(
    scorer: Scorer, spec: InputSpec, evaluation: Evaluation, item: Item, role: Role, index: int, fps: float | None
) -> ShownUnit | None:
    with open_video(item.path, fps=fps) as reader:
        frames = _frames_around(reader, spec, index)
    frame = next((frame for frame in frames if frame.index == index), None)
    if frame is None:
        return None  # a damaged stretch that decodes differently after a seek
    size = (frame.image.shape[0], frame.image.shape[1])
    rows = next(row.rows for row in evaluation.table.items if row.name == item.name)
    return ShownUnit(
        role=role,
        row=rows.start + index,
        frames=(frame.image,),
        map=_frame_map(scorer, frames, index, size),
        mask=_frame_mask(item, index),
        reconstruction=_frame_reconstruction(scorer, frames, index, size),
    )


def _frames_around(reader: VideoReader, spec: InputSpec, index: int) -> list[Frame]:
    """The frames needed for a clip that scores a frame, including that frame."""
    after = max((-1 - (target if target < 0 else target - spec.frames) for target in spec.targets), default=0)
    step = 1 if spec.fps is None or reader.info.fps is None else math.ceil(reader.info.fps / spec.fps)
    start = max(0, index - (spec.frames - 1) * step - _SLACK)
    frames = reader.frames(start, index + after * step + 1)
    return [paint_frame(frame, spec.mask) for frame in frames]


def _frame_map(scorer: Scorer, frames: list[Frame], index: int, size: tuple[int, int]) -> np.ndarray | None:
    """(H, W) at the size of the frame: mean over the clips that score it; None without a map."""
    maps: list[np.ndarray] = []
    spec = scorer.detector.input
    for targets, pixels in islice(_clips_about(spec, frames, index), 0, None, spec.hop):
        of_clip = scorer.score(pixels).map
        if of_clip is None:
            return None
        maps += [of_clip[target] for target in targets]
    return restore_size(np.mean(maps, 0), size, spec) if maps else None


def _frame_reconstruction(
    scorer: Scorer, frames: list[Frame], index: int, size: tuple[int, int]
) -> Reconstruction | None:
    """The reconstruction of the frame; None if the detector has none."""
    spec = scorer.detector.input
    for targets, pixels in _clips_about(spec, frames, index):
        expected = scorer.reconstruct(pixels)
        if expected is not None and spec.targets[targets[0]] % spec.frames == spec.frames - 1:
            items = scorer.recalled_items(pixels)
            return Reconstruction(frame=_as_image(expected[0], size, spec), items=None if items is None else items[0])
    return None


def _clips_about(spec: InputSpec, frames: list[Frame], index: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Pixels (1, ...) of the clips that score a frame, and the index of the frame among their targets."""
    if spec.sampling == "uniform" or not spec.targets:
        return
    maker: ClipMaker[ResizedFrame] = make_clip_maker(replace(spec, hop=1))
    for frame in frames:
        resized = ResizedFrame(frame.index, frame.time_s, frame_pixels(frame, spec), None)
        for clip in maker.push(resized):
            if targets := [number for number, target in enumerate(clip.targets) if target.index == index]:
                yield targets, stack([clip_pixels(clip)])


def _frame_mask(item: Item, index: int) -> np.ndarray | None:
    if item.masks is None:
        return None
    with open_masks(item.masks) as masks:
        return masks[index] if index < len(masks) else None
