"""What PyAV gives of a video: its container, packets, and decoded pictures as upright RGB arrays."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from offnormal.errors import VideoError

_FALLBACK_RATE = Fraction(25)  # what FFmpeg takes for streams without a rate
_MISSING_S = 1.0  # a header's duration may differ so much from what is there before the file counts as cut off
_NO_TIMESTAMPS = 0x80  # AVFMT_NOTIMESTAMPS of FFmpeg, which counts the frames of such streams at 25 a second
_BT601 = 5
# How AVFrame names the color matrix -> how swscale does. What says nothing is BT.601, as FFmpeg and OpenCV take it,
# so that frames read here equal frames that either of them wrote to pictures.
_MATRIX = {1: 1, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: 9, 10: 9}
# Slices of one picture on several threads cost more than they gain at these sizes; PyAV 16 has one thread only.
_ONE_THREAD: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


def open_container(path: Path) -> tuple[InputContainer, VideoStream]:
    """The container and its first video stream, which decodes on one thread.

    Raises VideoError, naming it, for a file that is missing, empty, no video or without a video stream.
    """
    try:
        if not path.is_file():
            raise VideoError(f"{path}: no such file; expected a video file or a folder of frames")
        if path.stat().st_size == 0:
            raise VideoError(f"{path}: the file is empty; copy it again or remove it")
        # `file:`: no other meaning of a name; a playlist reaches no network; PyAV 16 and 17 crash on `options` here
        container = av.open(f"file:{path}", metadata_errors="replace", container_options={"protocol_whitelist": "file"})
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror or error})") from None
    except FFmpegError as error:
        raise VideoError(
            f"{path}: not a video that can be read ({error.strerror}). A recording that was cut off before its index "
            "was written reads so too: copy it again, repair it with a recovery tool, or remove it"
        ) from None
    try:
        return container, _prepared(path, container)
    except VideoError:
        container.close()
        raise


def _prepared(path: Path, container: InputContainer) -> VideoStream:
    streams = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
    if not streams or container.format.name == "tty":  # which takes any text for a film
        kinds = ", ".join(sorted({each.type for each in container.streams})) if streams == [] else "text"
        raise VideoError(f"{path}: no video stream (found: {kinds or 'nothing'}); choose a file with moving pictures")
    if streams[0].codec_context is None:
        raise VideoError(f"{path}: its codec is not known; convert the file, for example to H.264")
    streams[0].thread_type = "NONE"  # no picture has to wait for those after it
    streams[0].thread_count = 1
    return streams[0]


def mean_rate(stream: VideoStream) -> Fraction:
    """Frames per second as the container says, as guessed from the first frames, or 25."""
    return next((rate for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate), _FALLBACK_RATE)


def has_clock(container: InputContainer) -> bool:
    """Whether the file has any times: a bare stream, without a container, has none, and its rate is a guess."""
    return not container.format.flags & _NO_TIMESTAMPS


def keeps_time(container: InputContainer, stream: VideoStream) -> bool:
    """Whether times tell something: AVI keeps none, and with pictures out of order they come out wrong."""
    return has_clock(container) and (container.format.name != "avi" or not stream.codec_context.has_b_frames)


def announced_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds that the header states for the video stream, or for the file where it has no other stream."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))  # Matroska
    if tag is not None:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def packets(
    container: InputContainer, stream: VideoStream, warn: Callable[[str], None]
) -> Iterator[Packet[VideoStream]]:
    """Packets from where the container stands to its end; warns where the file is damaged there."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except IndexError:  # PyAV, at the end, where a stream turned up that the header does not name
        return
    except FFmpegError as error:
        warn(f"truncated: reading ended early ({error.strerror}); the frames up to there are used")


def all_packets(
    container: InputContainer, stream: VideoStream, warn: Callable[[str], None]
) -> Iterator[Packet[VideoStream]]:
    """`packets` of a container that stands at its start; warns where there are fewer than its header announces."""
    count, end = 0, 0
    for packet in packets(container, stream, warn):
        count += 1
        end = max(end, (packet.pts or 0) + (packet.duration or 0))
        yield packet
    base = stream.time_base or Fraction(1)
    if count < stream.frames:
        warn(f"truncated: {count} of the {stream.frames} frames that its header announces are there")
    elif not stream.frames and "matroska" in container.format.name:
        expected = announced_s(container, stream)
        if expected is not None and expected - float(end * base) > _MISSING_S:
            warn(f"truncated: {float(end * base):.1f} of the {expected:.1f} s that its header announces are there")


class Upright:
    """Turns decoded pictures of one stream into arrays (H, W, 3) uint8 RGB, upright, all of the first one's size.

    Limited and full range, the matrices BT.601, BT.709, SMPTE 240M and BT.2020, gray, 10 bits and more are told by
    what the picture says of itself; transparent pixels are laid on white, as those of picture files are. Colors are
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
        colors: dict[str, Any] = {}
        if not frame.format.is_rgb and len(parts) >= 3:  # gray and RGB are full range whatever they say
            matrix = _MATRIX.get(int(frame.colorspace), _BT601)
            full = int(frame.color_range) == ColorRange.JPEG or frame.format.name.startswith("yuvj")
            colors = {
                "src_colorspace": matrix,
                "dst_colorspace": matrix,
                "src_color_range": ColorRange.JPEG if full else ColorRange.MPEG,
                # of no meaning for RGB, but PyAV 16 looks at matrix and range only where source and target differ
                "dst_color_range": ColorRange.UNSPECIFIED if full else ColorRange.JPEG,
            }
        height, width = self.stored
        shown = self._reformatter.reformat(
            frame, width=width, height=height, format="rgba" if alpha else "rgb24", **colors, **_ONE_THREAD
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
