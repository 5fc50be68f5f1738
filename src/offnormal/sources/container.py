"""Video containers through PyAV: streams, packets, and decoded frames as upright RGB arrays."""

from __future__ import annotations

import re
import sys
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

TRUNCATED = "truncated"  # name of the warning of a file that ends early
_FALLBACK_RATE = Fraction(25)  # FFmpeg's default for streams without a rate
_DURATION_TOLERANCE_S = 1.0  # a file shorter than its header states by more than this counts as truncated
_NO_TIMESTAMPS = 0x80  # FFmpeg's AVFMT_NOTIMESTAMPS: such streams are timed at 25 frames/s
_WRAP = 2**32  # half the range of MPEG timestamps
_BT601 = 5
# Color matrix of AVFrame -> that of swscale. An unspecified one is BT.601, as in FFmpeg and OpenCV, so that frames
# read here equal images that either of them extracted.
_MATRIX = {1: 1, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: 9, 10: 9}
# Slice threads do not pay off at these sizes; PyAV 16 always uses one thread.
_ONE_THREAD: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


def open_container(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a video file and return its container and first video stream, set to decode on one thread.

    Raises VideoError with the path when the file is missing, empty, not a video, or has no video stream.
    """
    try:
        if not path.is_file():
            raise VideoError(f"{path}: no such file; expected a video file or a folder of frames")
        if path.stat().st_size == 0:
            raise VideoError(f"{path}: the file is empty; copy it again or remove it")
        # `file:` and the whitelist keep names and playlists off the network; PyAV 16 and 17 crash on `options` here
        container = av.open(f"file:{path}", metadata_errors="replace", container_options={"protocol_whitelist": "file"})
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None
    except FFmpegError as error:
        raise VideoError(
            f"{path}: not a readable video ({error.strerror}); a recording that was interrupted before its index was "
            "written looks the same. Copy it again, repair it with a recovery tool, or remove it"
        ) from None
    try:
        return container, _select_stream(path, container)
    except VideoError:
        container.close()
        raise


def _select_stream(path: Path, container: InputContainer) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams or container.format.name == "tty":  # a demuxer that accepts any text
        kinds = ", ".join(sorted({s.type for s in container.streams})) if streams == [] else "text"
        raise VideoError(f"{path}: no video stream (found: {kinds or 'nothing'}); choose a file that contains video")
    if streams[0].codec_context is None:
        raise VideoError(f"{path}: unknown codec; convert the file, for example to H.264")
    streams[0].thread_type = "NONE"  # frame threads would delay each frame
    streams[0].thread_count = 1
    return streams[0]


def mean_rate(stream: VideoStream) -> Fraction:
    """Return the frames per second that the container states or FFmpeg guesses, else 25."""
    return next((rate for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate), _FALLBACK_RATE)


def has_clock(container: InputContainer) -> bool:
    """Whether the file has timestamps; a stream without a container has none, and its rate is a guess."""
    return not container.format.flags & _NO_TIMESTAMPS


def has_usable_times(container: InputContainer, stream: VideoStream) -> bool:
    """Whether the timestamps are usable; AVI stores none, so they are wrong where frames are reordered."""
    return has_clock(container) and (container.format.name != "avi" or not stream.codec_context.has_b_frames)


def longest_step(container: InputContainer) -> int:
    """Return the longest step between two timestamps that is not a restart of the clock.

    FFmpeg takes an MPEG clock that goes back for one that overflowed, and adds the range of its timestamps (26.5 h).
    """
    return _WRAP if container.format.name in ("mpegts", "mpeg") else sys.maxsize


def header_duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the duration in the header: of the video stream, or of the file if it has no other stream."""
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
    """Yield packets from the current position to the end; warn if the file is damaged."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except IndexError:  # PyAV raises it at the end if a stream is missing in the header
        return
    except FFmpegError as error:
        warn(f"{TRUNCATED}: reading stopped early ({error.strerror}); the frames before that are used")


def all_packets(
    container: InputContainer, stream: VideoStream, warn: Callable[[str], None]
) -> Iterator[Packet[VideoStream]]:
    """Yield all packets of a newly opened container; warn if there are fewer than its header states."""
    count, end = 0, 0
    for packet in packets(container, stream, warn):
        count += 1
        end = max(end, (packet.pts or 0) + (packet.duration or 0))
        yield packet
    base = stream.time_base or Fraction(1)
    if count < stream.frames:
        warn(f"{TRUNCATED}: {count} of the {stream.frames} frames that its header states are present")
    elif not stream.frames and "matroska" in container.format.name:
        expected = header_duration_s(container, stream)
        if expected is not None and expected - float(end * base) > _DURATION_TOLERANCE_S:
            warn(f"{TRUNCATED}: {float(end * base):.1f} of the {expected:.1f} s that its header states are present")


class FrameConverter:
    """Converts decoded frames of one stream to (H, W, 3) uint8 RGB, upright, at the size of the first frame.

    Range (limited, full), matrix (BT.601, BT.709, SMPTE 240M, BT.2020), and bit depth come from the frame's own
    properties; transparent pixels become white, as in image files. Colors are within 3 levels of the exact ones.
    Non-square pixels are not corrected.
    """

    def __init__(self, first: av.VideoFrame) -> None:
        self.stored_size = (first.height, first.width)
        self._orientation = _read_orientation(first)
        self._reformatter = VideoReformatter()

    @property
    def size(self) -> tuple[int, int]:
        """Size (H, W) of the upright frames."""
        height, width = self.stored_size
        return (width, height) if self._orientation is not None and self._orientation[0, 0] == 0 else (height, width)

    def matches_size(self, frame: av.VideoFrame) -> bool:
        """Whether a frame has the size of the first one; `image` scales others."""
        return (frame.height, frame.width) == self.stored_size

    def image(self, frame: av.VideoFrame) -> np.ndarray:
        """Convert a frame to (H, W, 3) uint8 RGB."""
        components = frame.format.components
        alpha = any(part.is_alpha for part in components)
        colors: dict[str, Any] = {}
        if not frame.format.is_rgb and len(components) >= 3:  # gray and RGB are always full range
            matrix = _MATRIX.get(int(frame.colorspace), _BT601)
            full = int(frame.color_range) == ColorRange.JPEG or frame.format.name.startswith("yuvj")
            colors = {
                "src_colorspace": matrix,
                "dst_colorspace": matrix,
                "src_color_range": ColorRange.JPEG if full else ColorRange.MPEG,
                # meaningless for RGB, but PyAV 16 ignores matrix and range unless source and target differ
                "dst_color_range": ColorRange.UNSPECIFIED if full else ColorRange.JPEG,
            }
        height, width = self.stored_size
        rgb = self._reformatter.reformat(
            frame, width=width, height=height, format="rgba" if alpha else "rgb24", **colors, **_ONE_THREAD
        ).to_ndarray()
        if alpha:
            rgb = _blend_on_white(rgb)
        return np.ascontiguousarray(rgb if self._orientation is None else _turn_upright(rgb, self._orientation))


def _blend_on_white(rgba: np.ndarray) -> np.ndarray:
    if rgba[..., 3].min() == 255:
        return rgba[..., :3]
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _read_orientation(frame: av.VideoFrame) -> np.ndarray | None:
    """Return the signs (2, 2) of the display matrix, stored x and y (rows) -> displayed x and y; None: upright.

    Angles that are not multiples of 90 degrees are ignored; no camera writes them.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    orientation = np.sign(np.frombuffer(bytes(data), dtype=np.int32).reshape(3, 3)[:2, :2])
    if abs(orientation).sum() != 2 or abs(orientation).sum(0).tolist() != [1, 1] or (orientation == np.eye(2)).all():
        return None
    return orientation


def _turn_upright(image: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """Turn (H, W, 3): swap the axes if stored x is displayed as y, and reverse those with a negative sign."""
    if orientation[0, 0] == 0:
        image, across, down = image.swapaxes(0, 1), orientation[1, 0], orientation[0, 1]
    else:
        across, down = orientation[0, 0], orientation[1, 1]
    return image[:: int(down), :: int(across)]
