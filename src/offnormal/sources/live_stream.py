"""Pictures of a live stream or a local camera through FFmpeg, with a deadline on every read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from offnormal.errors import VideoError
from offnormal.sources.address import Address
from offnormal.sources.pixels import Upright

log = logging.getLogger(__name__)

Transport = Literal["tcp", "udp"]
_CLOCKLESS = frozenset({"mpjpeg", "mjpeg", "image2pipe", "jpeg_pipe", "png_pipe"})  # FFmpeg counts their frames at 25/s
_PROTOCOLS = {
    "rtsp": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto,http,https,httpproxy",
    "http": "http,https,httpproxy,tcp,tls,crypto,data",  # a playlist leads to no file and no other protocol
}


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
    more: dict[str, Any] = {}
    options: dict[str, str] = {}
    if address.kind in _PROTOCOLS:
        # the rate, which nobody asks for, would be guessed from 20 frames: of slow cameras that takes seconds
        options = {"protocol_whitelist": _PROTOCOLS[address.kind], "fpsprobesize": "0"}
    if address.kind == "rtsp":
        options |= {"rtsp_transport": transport, "allowed_media_types": "video"}
    elif address.kind == "device":
        more, options = {"format": "v4l2"}, device
    container: InputContainer = av.open(
        address.target, metadata_errors="replace", container_options=options, timeout=(open_s, read_s), **more
    )
    return container


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
            if frame.is_corrupt:  # its grey blocks would be called anomalous
                continue
            if show is None or not show.fits(frame):  # other sizes need another filter
                show = Upright(frame)
            yield Shot(frame.time if timed else None, partial(show.image, frame))
