"""One decoded picture of a video file -> an upright RGB array: colour matrix and range, alpha, rotation, size."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter

_BT601 = 5
# How AVFrame names the colour matrix -> how swscale does. What says nothing is BT.601, as FFmpeg and OpenCV take it,
# so that frames read here equal frames that either of them wrote to pictures.
_MATRIX = {1: 1, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: 9, 10: 9}
# Slices of one picture on several threads cost more than they gain at these sizes; PyAV 16 has one thread only.
_ONE_THREAD: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


class Upright:
    """Turns decoded pictures of one stream into arrays (H, W, 3) uint8 RGB, upright, all of the first one's size.

    Limited and full range, the matrices BT.601, BT.709, SMPTE 240M and BT.2020, grey, 10 bits and more are told by
    what the picture says of itself; transparent pixels are laid on white, as those of picture files are. Colours are
    within 3 levels of the exact ones. Pixels that are not square stay as they are stored.
    """

    def __init__(self, first: av.VideoFrame) -> None:
        self.stored = (first.height, first.width)
        self._turn = _display_matrix(first)
        self._reformatter = VideoReformatter()

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the upright pictures."""
        height, width = self.stored
        return (width, height) if self._turn is not None and self._turn[0, 0] == 0 else (height, width)

    def fits(self, frame: av.VideoFrame) -> bool:
        """Whether a picture has the size of the first one; `image` scales those that do not."""
        return (frame.height, frame.width) == self.stored

    def image(self, frame: av.VideoFrame) -> np.ndarray:
        """The picture as (H, W, 3) uint8 RGB."""
        parts = frame.format.components
        alpha = any(part.is_alpha for part in parts)
        colours: dict[str, Any] = {}
        if not frame.format.is_rgb and len(parts) >= 3:  # grey and RGB are full range whatever they say
            matrix = _MATRIX.get(int(frame.colorspace), _BT601)
            full = int(frame.color_range) == ColorRange.JPEG or frame.format.name.startswith("yuvj")
            colours = {
                "src_colorspace": matrix,
                "dst_colorspace": matrix,
                "src_color_range": ColorRange.JPEG if full else ColorRange.MPEG,
                # of no meaning for RGB, but PyAV 16 looks at matrix and range only where source and target differ
                "dst_color_range": ColorRange.UNSPECIFIED if full else ColorRange.JPEG,
            }
        height, width = self.stored
        shown = self._reformatter.reformat(
            frame, width=width, height=height, format="rgba" if alpha else "rgb24", **colours, **_ONE_THREAD
        ).to_ndarray()
        if alpha:
            shown = _on_white(shown)
        return np.ascontiguousarray(shown if self._turn is None else _turned(shown, self._turn))


def _on_white(rgba: np.ndarray) -> np.ndarray:
    if rgba[..., 3].min() == 255:
        return rgba[..., :3]
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """The signs of the 2 x 2 part, stored x and y (rows) -> shown x and y; None: nothing to turn.

    Angles that are not multiples of 90 degrees, which no camera writes, are left alone.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    turn = np.sign(np.frombuffer(bytes(data), dtype=np.int32).reshape(3, 3)[:2, :2])
    if abs(turn).sum() != 2 or abs(turn).sum(0).tolist() != [1, 1] or (turn == np.eye(2)).all():
        return None
    return turn


def _turned(image: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> shown: axes swapped where stored x becomes shown y, each reversed where its sign is negative."""
    if turn[0, 0] == 0:
        image, across, down = image.swapaxes(0, 1), turn[1, 0], turn[0, 1]
    else:
        across, down = turn[0, 0], turn[1, 1]
    return image[:: int(down), :: int(across)]
