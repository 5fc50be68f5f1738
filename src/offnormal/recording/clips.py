"""Frames on their way to a clip: the last seconds of a camera in memory, those of an event on disk, and the MP4."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from offnormal.errors import OffnormalError
from offnormal.recording.mp4 import Mp4File

_FPS = 5.0  # of a clip of one frame
_QUALITY = 85  # of JPEG
_MOST_BYTES = 16 << 20  # a camera: 40 of them fit into 640 MB whatever they show


class StoredFrame(NamedTuple):
    """One compressed picture."""

    time_s: float
    jpeg: bytes


class ClipRing:
    """Frames of the last `seconds`, fewer where they would take more than `most_bytes`.

    longest: side in pixels to which larger pictures are shrunk, None: none.
    """

    def __init__(self, seconds: float, *, longest: int | None = 1280, most_bytes: int = _MOST_BYTES) -> None:
        self.seconds = seconds
        self.longest = longest
        self.most_bytes = most_bytes
        self.bytes = 0
        self._frames: deque[StoredFrame] = deque()

    def push(self, time_s: float, image: np.ndarray) -> StoredFrame:
        """Compress and keep a frame (H, W, 3) uint8 RGB; what is too old or too much goes."""
        stored = StoredFrame(time_s, compressed(image, self.longest))
        self._frames.append(stored)
        self.bytes += len(stored.jpeg)
        while len(self._frames) > 1 and (
            self._frames[0].time_s < time_s - self.seconds or self.bytes > self.most_bytes
        ):
            self.bytes -= len(self._frames.popleft().jpeg)
        return stored

    def since(self, time_s: float) -> list[StoredFrame]:
        """The frames that are left from a time on."""
        return [stored for stored in self._frames if stored.time_s >= time_s]


class EventFrames:
    """Frames of one event on their way to a clip; a full disk ends it, and is remembered as its `problem`."""

    def __init__(self, scratch: Path, frames: Iterable[StoredFrame]) -> None:
        self.scratch = scratch
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


def compressed(image: np.ndarray, longest: int | None = None) -> bytes:
    """A picture (H, W, 3) uint8 RGB as JPEG, its longer side no longer than `longest` pixels."""
    picture = Image.fromarray(image)
    if longest is not None:
        picture.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def decompressed(jpeg: bytes) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB of `compressed`."""
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def _fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame at the size of the clip: cut by the odd row or column, or scaled where the camera changed its size."""
    height, width = size
    if image.shape[0] - height in (0, 1) and image.shape[1] - width in (0, 1):
        return np.ascontiguousarray(image[:height, :width])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
