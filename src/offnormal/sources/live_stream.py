"""Pictures of a live stream or a local camera through FFmpeg, with a deadline on every read, and their times."""

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
from offnormal.sources.container import Upright
from offnormal.sources.paths import Address

log = logging.getLogger(__name__)
Transport = Literal["tcp", "udp"]
_CLOCKLESS = frozenset({"mpjpeg", "mjpeg", "image2pipe", "jpeg_pipe", "png_pipe"})  # FFmpeg counts their frames at 25/s
_PROTOCOLS = {
    "rtsp": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto,http,https,httpproxy",
    "http": "http,https,httpproxy,tcp,tls,crypto,data",  # a playlist leads to no file and no other protocol
}
_LOST_S = 5.0  # further from their arrival the stream's own times say nothing
_AHEAD_S = 0.25  # by which a frame may be said to be of a time after its arrival: the network is uneven
_CATCH_UP = 0.04  # the same as the drift where it is more than that
_DRIFT = 0.001  # seconds a second by which its clock may be led back to ours
_SPACINGS = 25  # last ones, whose median is the usual spacing
_ROUNDING = 1e-6  # of a tick: times are sums of fractions


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One picture as it came, not yet converted."""

    stamp_s: float | None  # on the source's own clock; None: it has none
    image: Callable[[], np.ndarray]  # makes (H, W, 3) uint8 RGB, upright
    path: Path | None = None  # of the picture, where it is a file of its own


def stream_shots(
    address: Address, *, open_s: float, read_s: float, transport: Transport, device: dict[str, str] | None = None
) -> Iterator[Shot]:
    """Pictures of a stream from now on, until it ends; what cannot be decoded is passed over.

    open_s, read_s: seconds after which FFmpeg gives up; it may take twice as long. device: FFmpeg's options of a local
    camera, such as `video_size` and `framerate`. Raises VideoError, without credentials, when the stream cannot be
    opened or breaks.
    """
    try:
        with _open(address, open_s, read_s, transport, device or {}) as container:
            yield from _shots(container, address)
    except (FFmpegError, OSError) as error:  # whose text names the address
        raise VideoError(f"failed: {address}: {error.strerror or type(error).__name__}") from None


def _open(
    address: Address, open_s: float, read_s: float, transport: Transport, device: dict[str, str]
) -> InputContainer:
    options: dict[str, str] = {}
    if address.kind in _PROTOCOLS:
        # the rate, which nobody asks for, would be guessed from 20 frames: of slow cameras that takes seconds
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


def _shots(container: InputContainer, address: Address) -> Iterator[Shot]:
    if not container.streams.video:
        raise VideoError(f"failed: {address}: no video stream in it")
    stream = container.streams.video[0]
    stream.thread_type, stream.thread_count = "NONE", 1  # no picture has to wait for those after it
    timed = container.format.name not in _CLOCKLESS
    show: Upright | None = None
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except FFmpegError as error:
            log.debug("%s: a packet could not be decoded (%s)", address, error.strerror)
            continue
        for frame in frames:
            if frame.is_corrupt:  # its gray blocks would be called anomalous
                continue
            if show is None or not show.fits(frame):  # other sizes need another filter
                show = Upright(frame)
            yield Shot(frame.time if timed else None, partial(show.image, frame))


class LiveClock:
    """A stream's own times, tied to their arrival; arrival where it has none, or where its times make no sense.

    Its own times keep the distances between frames that the network disturbs; they are led back to the arrival slowly,
    since no two clocks agree for months, and tied anew where they jump or run backwards. Frames that are said to be of
    a time well after their arrival, as those are that follow a burst of old ones, are led back within minutes. Times
    never run backwards. origin_s: the moment on the monotonic clock that is time 0.
    """

    def __init__(self, origin_s: float) -> None:
        self._origin_s = origin_s
        self._offset_s: float | None = None
        self._stamp_s = 0.0
        self._last_s = -math.inf

    def __call__(self, stamp_s: float | None, arrived_s: float) -> float:
        """Seconds since the origin of a frame with such a stamp that arrived at this moment."""
        arrival = arrived_s - self._origin_s
        self._last_s = max(self._last_s, arrival if stamp_s is None else self._by_stamp(stamp_s, arrival))
        return self._last_s

    def _by_stamp(self, stamp_s: float, arrival_s: float) -> float:
        if self._offset_s is not None:
            passed, error = stamp_s - self._stamp_s, arrival_s - (stamp_s + self._offset_s)
            if passed > 0 and abs(error) <= _LOST_S:
                drift = _CATCH_UP if error < -_AHEAD_S else _DRIFT
                self._offset_s += math.copysign(min(abs(error), drift * passed), error)
            else:
                self._offset_s = None
        if self._offset_s is None:
            self._offset_s = arrival_s - stamp_s
        self._stamp_s = stamp_s
        return stamp_s + self._offset_s


class Ticks:
    """Which frames of a source stand for the ticks of a clock of `fps` ticks a second: of each tick the nearest one.

    A frame that another one cannot come nearer than, by the usual spacing of the source, is taken at once; so a
    source as fast as the clock loses none to the unevenness of its times. A slower one leaves ticks out.

    >>> ticks = Ticks(5)
    >>> [ticks(number / 10) for number in range(6)]
    [0, None, 1, None, 2, None]
    """

    def __init__(self, fps: float) -> None:
        if not 0 < fps < math.inf:
            raise ConfigError(f"{fps:g} frames a second were asked for; expected a number above 0")
        self._fps = fps
        self._spacings: deque[float] = deque(maxlen=_SPACINGS)
        self._last_s: float | None = None
        self._tick = -1

    def __call__(self, time_s: float) -> int | None:
        """The tick that the frame of this time stands for; None: of none."""
        if self._last_s is not None and time_s > self._last_s:
            self._spacings.append(time_s - self._last_s)
        self._last_s = time_s
        ahead = min(median(self._spacings) * self._fps, 1) / 2 if self._spacings else 0.0
        tick = math.floor(time_s * self._fps + ahead + _ROUNDING)
        if tick <= self._tick:
            return None
        self._tick = tick
        return tick
