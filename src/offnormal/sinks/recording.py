"""What is kept of one event while it is on: its frames, compressed on disk, and the highest of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from offnormal.data.geometry import restore_size
from offnormal.errors import OffnormalError
from offnormal.files import new_file
from offnormal.report.overlay import overlay, scale_for
from offnormal.sinks.clip_ring import StoredFrame, compressed, decompressed
from offnormal.sinks.mp4 import Mp4File
from offnormal.types import InputSpec

_FPS = 5.0  # of a clip of one frame


@dataclass(frozen=True, slots=True, eq=False)
class Highest:
    """The frame with the highest score."""

    time_s: float
    score: float
    image: np.ndarray  # (H, W, 3) uint8
    map: np.ndarray | None  # (h, w) float32 at input size


@dataclass(frozen=True, slots=True)
class HeatScale:
    """How maps become colours, the same for all pictures of one calibration (`report.overlay.scale_for`)."""

    spec: InputSpec
    pixel_threshold: float | None
    low: float
    high: float


class Recording:
    """Frames of one event on their way to a clip; a full disk ends it, and is remembered as its `problem`."""

    def __init__(self, scratch: Path, frames: Iterable[StoredFrame], highest: Highest) -> None:
        self.scratch = scratch
        self.highest = highest
        self.problem: str | None = None
        self._places: list[tuple[float, int, int]] = []  # time, offset and length of each frame
        self._size = 0
        self._file: BinaryIO | None = None
        try:
            self._file = self._opened()
        except OSError as error:
            self._failed(error)
            return
        for stored in frames:
            self.add(stored)

    @property
    def size(self) -> int:
        """Bytes of the frames."""
        return self._size

    def add(self, stored: StoredFrame) -> None:
        """Take the next frame."""
        if self.problem is not None or self._file is None:
            return
        try:
            self._file.write(stored.jpeg)
        except OSError as error:
            self._failed(error)
            return
        self._places.append((stored.time_s, self._size, len(stored.jpeg)))
        self._size += len(stored.jpeg)

    def offer(self, highest: Highest) -> None:
        """Take a frame as the highest where it is higher."""
        if highest.score > self.highest.score:
            self.highest = highest

    def write_clip(self, path: Path, start_s: float, end_s: float) -> None:
        """Write the frames from start to end as MP4; OffnormalError where that cannot be done."""
        if self.problem is not None:
            raise OffnormalError(self.problem)
        frames = self._between(start_s, end_s)
        first = next(frames, None)
        if first is None:
            raise OffnormalError("there was no frame to record")
        height, width = (max(2, side - side % 2) for side in first[1].shape[:2])
        with Mp4File(path, self._fps(start_s, end_s), (height, width), threads=1) as file:
            file.add(_fitted(first[1], (height, width)), first[0])
            for time_s, image in frames:
                file.add(_fitted(image, (height, width)), time_s)

    def close(self) -> None:
        """Let go of the frames."""
        with suppress(OSError):  # what could not be written is of no use any more
            if self._file is not None:
                self._file.close()
        self.scratch.unlink(missing_ok=True)

    def _opened(self) -> BinaryIO:
        self.scratch.parent.mkdir(parents=True, exist_ok=True)
        return self.scratch.open("w+b")

    def _between(self, start_s: float, end_s: float) -> Iterator[tuple[float, np.ndarray]]:
        assert self._file is not None
        for time_s, offset, length in self._places:
            if start_s <= time_s <= end_s:
                self._file.seek(offset)
                yield time_s, decompressed(self._file.read(length))

    def _fps(self, start_s: float, end_s: float) -> float:
        times = [time_s for time_s, _, _ in self._places if start_s <= time_s <= end_s]
        return min(120.0, max(0.1, 1 / float(np.median(np.diff(times))))) if len(times) > 1 else _FPS

    def _failed(self, error: OSError) -> None:
        self.problem = f"the clip could not be recorded ({error.strerror})"


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write a picture as JPEG in one step; OffnormalError when the disk is full."""
    with new_file(path) as partial:
        partial.write_bytes(compressed(image))


def heated(highest: Highest, scale: HeatScale) -> np.ndarray | None:
    """The frame under its heat map (H, W, 3); None where there is no map.

    Where nothing is above the pixel threshold, as when the score is a mean, the colours are the map's own.
    """
    if highest.map is None:
        return None
    height, width = highest.image.shape[:2]
    map = restore_size(highest.map, (height, width), scale.spec)
    threshold, low, high = scale.pixel_threshold, scale.low, scale.high
    if threshold is not None and map.max() <= threshold:
        threshold, (low, high) = None, scale_for(None, [map])
    return np.asarray(overlay(highest.image, map, threshold=threshold, low=low, high=high))


def _fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame at the size of the clip: cut by the odd row or column, or scaled where the camera changed its size."""
    height, width = size
    if image.shape[0] - height in (0, 1) and image.shape[1] - width in (0, 1):
        return np.ascontiguousarray(image[:height, :width])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
