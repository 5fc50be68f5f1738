"""The container of a video file: opening it, what it announces, and its packets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from offnormal.errors import VideoError

_FALLBACK_RATE = Fraction(25)  # what FFmpeg takes for streams without a rate
_MISSING_S = 1.0  # a header's duration may differ so much from what is there before the file counts as cut off


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


def keeps_time(container: InputContainer, stream: VideoStream) -> bool:
    """Whether times tell something: AVI keeps none, and with pictures out of order they come out wrong."""
    return container.format.name != "avi" or not stream.codec_context.has_b_frames


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
