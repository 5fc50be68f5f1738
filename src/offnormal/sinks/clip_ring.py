"""The last seconds of a camera as compressed pictures, in bounded memory."""

from __future__ import annotations

import io
from collections import deque
from typing import NamedTuple

import numpy as np
from PIL import Image

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
