"""Images of live streams and local cameras through FFmpeg, with a deadline on every read, and their times."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from offnormal.errors import ConfigError, VideoError
from offnormal.sources.container import FrameConverter
from offnormal.sources.paths import Address

log = logging.getLogger(__name__)
Transport = Literal["tcp", "udp"]
_UNTIMED_FORMATS = frozenset({"mpjpeg", "mjpeg", "image2pipe", "jpeg_pipe", "png_pipe"})  # FFmpeg assumes 25/s
_PROTOCOLS = {
    "rtsp": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto,http,https,httpproxy",
    "http": "http,https,httpproxy,tcp,tls,crypto,data",  # keeps a playlist from opening files and other protocols
}
_MAX_ERROR_S = 5.0  # timestamps further from the arrival are ignored
_EARLY_S = 0.25  # jitter: a timestamp may be this long after the arrival
_CATCH_UP = 0.04  # correction of later timestamps, in s/s
_DRIFT = 0.001  # correction of the stream's clock toward ours, in s/s
_SPACINGS = 25  # number of last spacings; their median is the usual one
_ROUNDING = 1e-6  # in ticks: times are sums of fractions


@dataclass(frozen=True, slots=True, eq=False)
class LiveImage:
    """One image as received, not yet converted."""

    timestamp_s: float | None  # on the source's clock; None: no timestamp
    image: Callable[[], np.ndarray]  # converts to (H, W, 3) uint8 RGB, upright
    path: Path | None = None  # path of an image file
    deep: np.ndarray | None = None  # (H, W, 3) float32 in 0-1: the image has more than 8 bits


def stream_images(
    address: Address, *, open_s: float, read_s: float, transport: Transport, device: dict[str, str] | None = None
) -> Iterator[LiveImage]:
    """Yield images of a stream until it ends; undecodable packets are skipped.

    open_s, read_s: timeouts of FFmpeg in seconds; it may take twice as long. device: FFmpeg options of a local camera,
    such as `video_size` and `framerate`. Raises VideoError, without credentials, when the stream cannot be opened or
    fails.
    """
    try:
        with _open(address, open_s, read_s, transport, device or {}) as container:
            yield from _decode_images(container, address)
    except (FFmpegError, OSError) as error:  # the error's own text contains the address
        raise VideoError(f"failed: {address}: {error.strerror or type(error).__name__}") from None


def _open(
    address: Address, open_s: float, read_s: float, transport: Transport, device: dict[str, str]
) -> InputContainer:
    options: dict[str, str] = {}
    if address.kind in _PROTOCOLS:
        # skip guessing the rate from 20 frames, which takes seconds with slow cameras
        options = {"protocol_whitelist": _PROTOCOLS[address.kind], "fpsprobesize": "0"}
    if address.kind == "rtsp":
        options |= {"rtsp_transport": transport, "allowed_media_types": "video"}
    elif address.kind == "device":
        options = device
    return av.open(
        address.target,
        format="v4l2" if address.kind == "device" else None,
        metadata_errors="replace",
        container_options=options,
        timeout=(open_s, read_s),
    )


def _decode_images(container: InputContainer, address: Address) -> Iterator[LiveImage]:
    if not container.streams.video:
        raise VideoError(f"failed: {address}: no video stream")
    stream = container.streams.video[0]
    stream.thread_type, stream.thread_count = "NONE", 1  # frame threads would delay each frame
    has_times = container.format.name not in _UNTIMED_FORMATS
    converter: FrameConverter | None = None
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except FFmpegError as error:
            log.debug("%s: a packet could not be decoded (%s)", address, error.strerror)
            continue
        for frame in frames:
            if frame.is_corrupt:  # its gray blocks would look anomalous
                continue
            if converter is None or not converter.matches_size(frame):  # a new size needs a new converter
                converter = FrameConverter(frame)
            yield LiveImage(frame.time if has_times else None, partial(converter.image, frame))


class LiveClock:
    """Times of a stream from its timestamps, tied to the arrival; the arrival if they are missing or wrong.

    Timestamps preserve the spacing of frames, which the network disturbs. They are corrected toward the arrival slowly,
    since clocks drift, and re-tied after a jump or a step back. Timestamps well after the arrival, as after a burst of
    old frames, are corrected within minutes. Times never decrease. origin_s: time 0 on the monotonic clock.
    """

    def __init__(self, origin_s: float) -> None:
        self._origin_s = origin_s
        self._offset_s: float | None = None
        self._timestamp_s = 0.0
        self._last_s = -math.inf

    def __call__(self, timestamp_s: float | None, arrived_s: float) -> float:
        """Return the time of a frame in seconds since the origin."""
        arrival_s = arrived_s - self._origin_s
        self._last_s = max(
            self._last_s, arrival_s if timestamp_s is None else self._follow_timestamp(timestamp_s, arrival_s)
        )
        return self._last_s

    def _follow_timestamp(self, timestamp_s: float, arrival_s: float) -> float:
        if self._offset_s is not None:
            elapsed_s, error = timestamp_s - self._timestamp_s, arrival_s - (timestamp_s + self._offset_s)
            if elapsed_s > 0 and abs(error) <= _MAX_ERROR_S:
                drift = _CATCH_UP if error < -_EARLY_S else _DRIFT
                self._offset_s += math.copysign(min(abs(error), drift * elapsed_s), error)
            else:
                self._offset_s = None
        if self._offset_s is None:
            self._offset_s = arrival_s - timestamp_s
        self._timestamp_s = timestamp_s
        return timestamp_s + self._offset_s


class TickSelector:
    """Selects the frame nearest to each tick of a clock with `fps` ticks per second.

    A frame is selected as soon as the next one, by the usual spacing of the source, cannot be nearer; so jitter costs
    a source as fast as the clock no frames. A slower source skips ticks.

    >>> ticks = TickSelector(5)
    >>> [ticks(number / 10) for number in range(6)]
    [0, None, 1, None, 2, None]
    """

    def __init__(self, fps: float) -> None:
        if not 0 < fps < math.inf:
            raise ConfigError(f"{fps:g} frames per second; expected a number above 0")
        self._fps = fps
        self._spacings: deque[float] = deque(maxlen=_SPACINGS)
        self._last_s: float | None = None
        self._tick = -1

    def __call__(self, time_s: float) -> int | None:
        """Return the tick for which this frame is selected; None: none."""
        if self._last_s is not None and time_s > self._last_s:
            self._spacings.append(time_s - self._last_s)
        self._last_s = time_s
        half_spacing = min(median(self._spacings) * self._fps, 1) / 2 if self._spacings else 0.0
        tick = math.floor(time_s * self._fps + half_spacing + _ROUNDING)
        if tick <= self._tick:
            return None
        self._tick = tick
        return tick
