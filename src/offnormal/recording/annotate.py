"""Annotated videos: heat map, verdict, and running score, as H.264 that browsers play."""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image, ImageDraw

from offnormal.drawing.overlay import faint_overlay
from offnormal.drawing.score_panel import ALARM, GROUND, ScorePanel
from offnormal.errors import DataError, UsageError
from offnormal.recording.clips import Mp4File

_MIN_WIDTH = 480  # pixels; smaller images are enlarged by an integer factor, so that the text fits


class AnnotatedVideo:
    """Writes annotated frames to an MP4 file, which appears when the block succeeds.

    fps: rate of frames that are added without a time. size: (H, W) of the images. threshold: of the score, the line in
    the chart. score_range: ends of the chart; None: the range of scores so far. pixel_threshold: the heat map covers
    only pixels above it. map_range: ends of the color scale, as from `drawing.overlay.scale_for`; None: from half the
    pixel threshold to twice it.

        with AnnotatedVideo("out.mp4", fps=25, size=(360, 640), threshold=3.2, pixel_threshold=5.0) as video:
            video.add(image, score, map, anomalous)

    Raises UsageError for invalid settings, OffnormalError when the file cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        fps: float,
        size: tuple[int, int],
        *,
        threshold: float | None = None,
        score_range: tuple[float, float] | None = None,
        pixel_threshold: float | None = None,
        map_range: tuple[float, float] | None = None,
    ) -> None:
        if not 0 < fps <= 1000 or min(size) < 1:
            raise UsageError(f"annotated video of {size[0]}x{size[1]} at {fps:g} frames/s: expected positive values")
        for name, ends in (("score_range", score_range), ("map_range", map_range)):
            if ends is not None and not -math.inf < ends[0] < ends[1] < math.inf:
                raise UsageError(f"{name} from {ends[0]:g} to {ends[1]:g}; expected low < high, both finite")
        self.path = Path(path)
        self._size = size
        self._factor = max(1, math.ceil(_MIN_WIDTH / size[1]))
        self._image_size = size[1] * self._factor, size[0] * self._factor  # (W, H) as displayed
        self._panel = ScorePanel(self._image_size[0] + self._image_size[0] % 2, fps, threshold, score_range)
        self._pixel_threshold = pixel_threshold
        self._map_range = map_range
        if map_range is None and pixel_threshold is not None:
            spread = abs(pixel_threshold) or 1.0
            self._map_range = pixel_threshold - spread / 2, pixel_threshold + spread
        height = self._image_size[1] + self._panel.height
        self._file = Mp4File(self.path, float(fps), (height + height % 2, self._panel.width))

    @property
    def frames(self) -> int:
        """Number of frames written so far."""
        return self._file.frames

    @property
    def encoder(self) -> str:
        """The name of the encoder."""
        return self._file.encoder

    def __enter__(self) -> AnnotatedVideo:
        self._file.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)

    def add(
        self,
        image: np.ndarray,
        score: float | None = None,
        map: np.ndarray | None = None,
        anomalous: bool | None = None,
        label: int | None = None,
        time_s: float | None = None,
    ) -> None:
        """Write one more frame.

        image: (H, W, 3) uint8 RGB. score: raw; None or NaN: none. map: (h, w) float of any size, covers the whole
        image. anomalous: the verdict; None: none. label: 1 anomalous, 0 normal. time_s: display time; if not later
        than the previous frame, or None, the frame follows one period of fps after it.
        Raises DataError for another size, UsageError outside the `with` block, OffnormalError when writing fails.
        """
        if not self._file.is_open:
            raise UsageError(f"{self.path}: not open; add frames inside the `with` block")
        if image.shape != (*self._size, 3) or image.dtype != np.uint8:
            raise DataError(
                f"{self.path}: frame {self.frames} of shape {image.shape} and {image.dtype}; expected "
                f"{(*self._size, 3)} and uint8: resize all frames to one size"
            )
        seconds = self._file.display_time_s(time_s)
        self._file.add(self._draw_frame(image, score, map, anomalous, label, seconds), time_s)

    def _draw_frame(
        self,
        image: np.ndarray,
        score: float | None,
        map: np.ndarray | None,
        anomalous: bool | None,
        label: int | None,
        time_s: float,
    ) -> np.ndarray:
        """Draw the annotated frame (H', W', 3) uint8, both sides even."""
        photo = Image.fromarray(image)
        if self._factor > 1:
            photo = photo.resize(self._image_size, Image.Resampling.BILINEAR)
        if map is not None:
            photo = self._overlay_map(photo, map)
        width, height = self._image_size
        if anomalous:
            line = max(4, min(width, height) // 80)
            ImageDraw.Draw(photo).rectangle((0, 0, width - 1, height - 1), outline=ALARM, width=line)
        panel_height = self._panel.height
        canvas = np.empty((height + panel_height + (height + panel_height) % 2, self._panel.width, 3), np.uint8)
        canvas[:] = GROUND
        canvas[:height, :width] = np.asarray(photo)
        canvas[height : height + panel_height] = self._panel.draw(time_s, score, anomalous, label)
        return canvas

    def _overlay_map(self, photo: Image.Image, map: np.ndarray) -> Image.Image:
        """Overlay the heat map; pixels below the pixel threshold, if any, stay unchanged."""
        if self._map_range is None:
            raise UsageError(
                f"{self.path}: a map without a color scale; pass pixel_threshold, or map_range from scale_for"
            )
        if map.ndim != 2 or not map.size or not np.isfinite(map).all():
            raise DataError(
                f"{self.path}: map of shape {map.shape} at frame {self.frames}; expected (h, w), all finite"
            )
        low, high = self._map_range
        return faint_overlay(photo, map, threshold=self._pixel_threshold, low=low, high=high)
