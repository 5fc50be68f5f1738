"""Images and videos that predict writes: heat maps, the annotated video, and the peak frame of each alarm."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from offnormal.data.images import compute_placement, restore_size
from offnormal.drawing.overlay import overlay, scale_for
from offnormal.errors import VideoError
from offnormal.evaluation.table import DecisionRule
from offnormal.events.alarms import AlarmPeaks
from offnormal.events.machine import EventRules
from offnormal.files import new_file
from offnormal.recording.annotate import AnnotatedVideo
from offnormal.scoring import FrameStream, ScoredFrame
from offnormal.sources.image import open_image, to_rgb
from offnormal.sources.privacy import paint, paint_frame
from offnormal.sources.video import VideoInfo, open_video
from offnormal.types import InputSpec


def write_map(
    path: Path, anomaly_map: np.ndarray, spec: InputSpec, decide: DecisionRule, target: Path
) -> tuple[Path, Path]:
    """A heat map `<target>.png` and the raw map `<target>.tiff` (32-bit float), both at the image's own size."""
    image = paint(np.asarray(to_rgb(open_image(path, max_pixels=spec.max_pixels), levels=spec.levels)), spec.mask)
    full = restore_size(anomaly_map, (image.shape[0], image.shape[1]), spec)
    low, high = scale_for(decide.calibration, [full])
    picture, raw = (target.with_name(target.name + suffix) for suffix in (".png", ".tiff"))
    with new_file(picture) as partial:
        overlay(image, full, threshold=decide.pixel_threshold, low=low, high=high).save(partial)
    with new_file(raw) as partial, io.BytesIO() as file:  # Pillow cannot write to names that are not Unicode
        Image.fromarray(full).save(file, "TIFF", compression="tiff_adobe_deflate")
        partial.write_bytes(file.getvalue())
    return picture, raw


def video_info(path: Path, fps: float | None) -> VideoInfo | None:
    """The container's facts about a video; None if it cannot be read, which is reported when it is scored."""
    try:
        with open_video(path, fps=fps) as reader:
            return reader.info
    except VideoError:
        return None


def second_pass(path: Path, fps: float | None, stream: FrameStream) -> Iterator[ScoredFrame]:
    """The frames of a scored video, decoded again."""
    with open_video(path, fps=fps) as reader:
        for frame in reader.frames():
            stream.add_frame(paint_frame(frame, stream.spec.mask))
            yield from stream.frames_before(frame.index + 1)


class VideoPictures:
    """Takes the scored frames of one video in order; a context manager that deletes its files after an error.

    annotate: MP4 to write; overlays: stem of `<overlays>-<frame>.png`; None: nothing. fps: rate of the added frames.
    Without a threshold there are no alarms, and the frame with the highest score is drawn. Without a calibration, the
    color scale is from the median to the 99.9th percentile of the first maps. is_thinned: frames were skipped on
    purpose. hold: held scores count for alarms. Attribute: `drawn`, frame -> its image file.
    """

    def __init__(
        self,
        *,
        spec: InputSpec,
        decide: DecisionRule,
        rules: EventRules,
        low_threshold: float | None,
        fps: float,
        annotate: Path | None,
        overlays: Path | None,
        is_thinned: bool = False,
        hold: bool = False,
    ) -> None:
        self.drawn: dict[int, Path] = {}
        self._spec, self._decide = spec, decide
        self._fps, self._is_thinned, self._hold = fps, is_thinned, hold
        self._annotate, self._overlays = annotate, overlays
        self._peaks: AlarmPeaks[ScoredFrame] = AlarmPeaks(decide.threshold, rules, low_threshold)
        self._last: ScoredFrame | None = None
        self._stack = ExitStack()
        self._video: AnnotatedVideo | None = None
        self._range: tuple[float, float] | None = None

    def __enter__(self) -> Self:
        self._stack.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._draw(self._peaks.end())

    def scale(self, maps: np.ndarray | None) -> None:
        """Fix the color scale by the first maps (N, h, w); later maps do not change it."""
        if self._range is None and maps is not None:
            self._range = scale_for(self._decide.calibration, [maps])

    def add(self, scored: ScoredFrame) -> None:
        """Add one frame; frames of a thinned video without a score show none."""
        time_s = scored.frame.time_s if scored.frame.time_s is not None else scored.frame.index / self._fps
        if self._is_thinned and np.isnan(scored.score):  # the last score holds until the next one
            if self._last is not None:
                self._draw(self._peaks.push(self._last, self._last.score, time_s))
            return
        self._last = scored
        if self._annotate is not None:
            self._write(self._annotate, scored)
        score = math.nan if scored.held and not self._hold else scored.score  # else it repeats the previous score
        self._draw(self._peaks.push(scored, score, time_s, restarts=scored.frame.restarts))

    def _write(self, path: Path, scored: ScoredFrame) -> None:
        height, width = scored.frame.image.shape[:2]
        if self._video is None:
            video = AnnotatedVideo(
                path,
                self._fps,
                (height, width),
                threshold=self._decide.threshold,
                score_range=self._score_range(),
                pixel_threshold=self._decide.pixel_threshold,
                map_range=self._range,
            )
            self._video = self._stack.enter_context(video)
        heat_map = None
        if scored.map is not None:  # at its own resolution: frames are resized anyway
            heat_map = restore_size(scored.map, compute_placement((height, width), self._spec).scaled, self._spec)
        verdict = None
        if self._decide.threshold is not None and not np.isnan(scored.score):
            verdict = scored.score > self._decide.threshold
        self._video.add(scored.frame.image, scored.score, heat_map, verdict, time_s=scored.frame.time_s)

    def _score_range(self) -> tuple[float, float] | None:
        """Limits of the chart, with the threshold in the middle, so that the scale is constant over time."""
        calibration = self._decide.calibration
        if calibration is None or calibration.by_hand or not calibration.scores[0] < calibration.threshold:
            return None
        return calibration.scores[0], 2 * calibration.threshold - calibration.scores[0]

    def _draw(self, scored: ScoredFrame | None) -> None:
        if scored is None or self._overlays is None:
            return
        image = scored.frame.image
        path = self._overlays.with_name(f"{self._overlays.name}-{scored.frame.index:06}.png")
        picture = Image.fromarray(image)
        if scored.map is not None and self._range is not None:
            full = restore_size(scored.map, (image.shape[0], image.shape[1]), self._spec)
            low, high = self._range
            picture = overlay(image, full, threshold=self._decide.pixel_threshold, low=low, high=high)
        with new_file(path) as partial:
            picture.save(partial)
        self.drawn[scored.frame.index] = path
