"""Times and size of a video's frames from its packets, without decoding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from offnormal.errors import DataError
from offnormal.metrics.clock import Clock
from offnormal.sources.container import has_clock, mean_rate
from offnormal.sources.image import image_size
from offnormal.sources.paths import images_in


def count_frames(folder: Path) -> int:
    """Return the number of frames in a frame folder."""
    return len(images_in(folder, recursive=False))


def frame_times(path: Path) -> np.ndarray:
    """Return the presentation time of each frame, in seconds since the first, (T,) float64, ascending.

    Times follow `metrics.clock`: they continue across a restart of the file's clock. Without timestamps they follow
    from the rate; for a stream without a container, whose rate is unknown, they are NaN. Reads the whole file without
    decoding; a damaged file may yield fewer frames when it is decoded.
    Raises DataError for a missing file or one that is not a video.
    """
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container, path)
            stored_packets = (packet for packet in container.demux(stream) if packet.size and not packet.is_discard)
            packets = [(p.dts if p.pts is None else p.pts, p.is_keyframe) for p in stored_packets]  # .avi has only dts
            base, rate = float(stream.time_base or 1), float(mean_rate(stream)) if has_clock(container) else None
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path}: cannot be read as a video ({error}); replace or remove it") from None
    if not packets:
        raise DataError(f"{path}: contains no frame; copy it again or remove it")
    clock = Clock.from_times(_sort_for_display(packets) * base, fps=rate, name=str(path))
    return np.asarray(clock.times_s - clock.times_s[0])


def _sort_for_display(packets: Sequence[tuple[int | None, bool]]) -> np.ndarray:
    """Return timestamps (T,) in display order from packets (timestamp, is_keyframe) in stored order; NaN: none.

    Frames may be out of order within a segment; a restart of the clock, at a keyframe, starts the next segment.
    """
    stamps = np.array([np.nan if stamp is None else stamp for stamp, _ in packets], dtype=np.float64)
    starts, newest = [0], -math.inf
    for index, (stamp, is_keyframe) in enumerate(packets):
        if stamp is None:
            continue
        if is_keyframe and stamp <= newest:
            starts.append(index)
            newest = -math.inf
        newest = max(newest, stamp)
    for start, stop in pairwise([*starts, len(stamps)]):
        segment = stamps[start:stop]
        segment[~np.isnan(segment)] = np.sort(segment[~np.isnan(segment)])
    return stamps


def frame_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of a video's frames as stored, before any rotation; DataError when it cannot be read."""
    if path.is_dir():
        images = images_in(path, recursive=False)
        if not images:
            raise DataError(f"{path}: contains no image; expected the frames of a video")
        return image_size(images[0])
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container, path)
            return stream.height, stream.width
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path}: cannot be read as a video ({error}); replace or remove it") from None


def _video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    if not container.streams.video:
        raise DataError(f"{path}: no video stream (audio only?); replace or remove it")
    return container.streams.video[0]
