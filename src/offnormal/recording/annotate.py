"""A video with what a detector made of it: heat map, verdict and running score, as H.264 that a browser plays."""

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

_LEAST_WIDTH = 480  # pixels: smaller images are enlarged by a whole factor, so that the words fit below


class AnnotatedVideo:
    """An MP4 file that grows by one annotated frame after another and appears when the block ends well.

    fps: of the frames added without a time of their own. size: (H, W) of the images. threshold: of the score, for the
    line in the chart. score_range: ends of the chart; None: what was seen so far. pixel_threshold: the heat map is
    laid over only where the map is above it. map_range: ends of its colors, as of `drawing.overlay.scale_for`; None:
    from half the pixel threshold to twice it.

        with AnnotatedVideo("out.mp4", fps=25, size=(360, 640), threshold=3.2, pixel_threshold=5.0) as video:
            video.add(image, score, map, anomalous)

    Raises UsageError for settings that make no video, OffnormalError where the file cannot be written.
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
            raise UsageError(f"annotated video of {size} at {fps:g} frames a second: both must be positive")
        for name, ends in (("score_range", score_range), ("map_range", map_range)):
            if ends is not None and not -math.inf < ends[0] < ends[1] < math.inf:
                raise UsageError(f"{name} from {ends[0]:g} to {ends[1]:g}: expected low < high, both finite")
        self.path = Path(path)
        self._size = size
        self._factor = max(1, math.ceil(_LEAST_WIDTH / size[1]))
        self._picture = size[1] * self._factor, size[0] * self._factor  # (W, H) as shown
        self._panel = ScorePanel(self._picture[0] + self._picture[0] % 2, fps, threshold, score_range)
        self._pixel_threshold = pixel_threshold
        self._map_range = map_range
        if map_range is None and pixel_threshold is not None:
            size_of = abs(pixel_threshold) or 1.0
            self._map_range = pixel_threshold - size_of / 2, pixel_threshold + size_of
        height = self._picture[1] + self._panel.height
        self._file = Mp4File(self.path, float(fps), (height + height % 2, self._panel.width))

    @property
    def frames(self) -> int:
        """Frames written so far."""
        return self._file.frames

    @property
    def encoder(self) -> str:
        """Which one writes it."""
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

        image: (H, W, 3) uint8 RGB; score: raw, None or NaN where there is none; map: (h, w) float of any size, which
        lies over the whole image; anomalous: the verdict, None: there is none; label: 1 anomalous, 0 normal; time_s:
        when it is shown, later than the frame before (else it comes one frame after it), None: at the next tick of fps.
        Raises DataError for another size, UsageError outside the `with` block, OffnormalError where it cannot be
        written.
        """
        if not self._file.is_open:
            raise UsageError(f"{self.path}: frames are added inside its `with` block")
        if image.shape != (*self._size, 3) or image.dtype != np.uint8:
            raise DataError(
                f"{self.path}: frame {self.frames} of shape {image.shape} and {image.dtype}, expected "
                f"{(*self._size, 3)} and uint8: bring all frames to one size"
            )
        seconds = self._file.shown_s(time_s)
        self._file.add(self._drawn(image, score, map, anomalous, label, seconds), time_s)

    def _drawn(
        self,
        image: np.ndarray,
        score: float | None,
        map: np.ndarray | None,
        anomalous: bool | None,
        label: int | None,
        time_s: float,
    ) -> np.ndarray:
        """The whole annotated frame (H', W', 3) uint8, both sides even."""
        photo = Image.fromarray(image)
        if self._factor > 1:
            photo = photo.resize(self._picture, Image.Resampling.BILINEAR)
        if map is not None:
            photo = self._heated(photo, map)
        width, height = self._picture
        if anomalous:
            line = max(4, min(width, height) // 80)
            ImageDraw.Draw(photo).rectangle((0, 0, width - 1, height - 1), outline=ALARM, width=line)
        below = self._panel.height
        canvas = np.empty((height + below + (height + below) % 2, self._panel.width, 3), np.uint8)
        canvas[:] = GROUND
        canvas[:height, :width] = np.asarray(photo)
        canvas[height : height + below] = self._panel.draw(time_s, score, anomalous, label)
        return canvas

    def _heated(self, photo: Image.Image, map: np.ndarray) -> Image.Image:
        """The image under its heat map; below the pixel threshold, where there is one, it stays as it is."""
        if self._map_range is None:
            raise UsageError(
                f"{self.path}: a map without a scale for its colors: give pixel_threshold, or map_range from scale_for"
            )
        if map.ndim != 2 or not map.size or not np.isfinite(map).all():
            raise DataError(
                f"{self.path}: map of shape {map.shape} at frame {self.frames}: expected (h, w), all finite"
            )
        low, high = self._map_range
        return faint_overlay(photo, map, threshold=self._pixel_threshold, low=low, high=high)
