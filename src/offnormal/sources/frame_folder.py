"""A folder of pictures, in natural order, read as a video."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from offnormal.errors import ImageError, VideoError
from offnormal.sources.image import SUFFIXES, as_rgb, image_size, open_image, significant_bits
from offnormal.sources.paths import images_in
from offnormal.sources.reader import Thinning, VideoInfo, VideoReader
from offnormal.types import Frame

_LOOKED_AT = 16  # pictures spread over the folder, enough to tell 12-bit cameras from 16-bit ones


class FrameFolder(VideoReader):
    """Pictures of one size as frames: the position in natural order, never the number in a name, is the index.

    fps: rate of the frames, their only clock; None leaves every time None. bits: significant bits of 16-bit
    pictures; None takes those that the folder uses. Raises VideoError for a folder without pictures, and, naming
    the file, for a picture that cannot be read or has another size than the first.
    """

    def __init__(self, path: Path, *, fps: float | None = None, bits: int | None = None) -> None:
        if fps is not None and not fps > 0:
            raise VideoError(f"{path}: a rate of {fps:g} frames/s was given; expected a number above 0")
        self.path, self.warnings, self.restarts = path, [], []
        self._files = images_in(path, recursive=False)
        if not self._files:
            raise VideoError(
                f"{path}: a folder without pictures; expected a video file or a folder of frames "
                f"({', '.join(sorted(SUFFIXES)[:6])}, ...)"
            )
        try:
            size = image_size(self._files[0])
            self.bits = bits if bits is not None else _bits(self._files)
        except ImageError as error:
            raise VideoError(str(error)) from None
        count = len(self._files)
        self.info = VideoInfo(frames=count, exact=True, fps=fps, size=size, duration_s=count / fps if fps else None)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """See `VideoReader.frames`."""
        self._check_start(start)
        return map(self._read, range(len(self._files))[start:stop])

    def frame(self, index: int) -> Frame:
        """See `VideoReader.frame`."""
        self._check_start(index)
        if index >= len(self._files):
            raise VideoError(f"{self.path}: frame {index} was asked for; there are {len(self._files)}, from 0")
        return self._read(index)

    def thinned(self, every_s: float) -> Iterator[Frame]:
        """See `VideoReader.thinned`; reads only the pictures that it gives."""
        keep = Thinning(every_s)
        if self.info.fps is None:
            raise VideoError(f"{self.path}: a folder of frames has no clock; give the rate of its frames (fps)")
        fps = self.info.fps
        return (self._read(index) for index in range(len(self._files)) if keep(index / fps))

    def times(self) -> list[float | None]:
        """See `VideoReader.times`."""
        return [self._time_s(index) for index in range(len(self._files))]

    def close(self) -> None:
        """Nothing is kept open between frames."""

    def _read(self, index: int) -> Frame:
        path = self._files[index]
        try:
            picture = open_image(path)
        except ImageError as error:
            raise VideoError(str(error)) from None
        try:
            image = np.asarray(as_rgb(picture, bits=self.bits))
        except ImageError as error:
            raise VideoError(f"{path}: {error}") from None
        if image.shape[:2] != self.info.size:
            (height, width), (wanted_height, wanted_width) = image.shape[:2], self.info.size
            raise VideoError(
                f"{path}: {width} x {height} pixels, but {self._files[0].name} has {wanted_width} x {wanted_height}; "
                "the frames of one video have one size: move pictures that do not belong to it elsewhere"
            )
        return Frame(index, self._time_s(index), image)

    def _time_s(self, index: int) -> float | None:
        return index / self.info.fps if self.info.fps else None


def _bits(files: list[Path]) -> int:
    if significant_bits(files[0]) is None:
        return 16
    return max(significant_bits(path) or 16 for path in files[:: math.ceil(len(files) / _LOOKED_AT)])
