"""When the frames of a video are shown, and how large they are: from its packets, without decoding a picture."""

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
    """Number of frames in a folder of pictures."""
    return len(images_in(folder, recursive=False))


def frame_times(path: Path) -> np.ndarray:
    """Seconds since the first frame at which each frame of a video file is shown, (T,) float64, ascending.

    Those of `metrics.clock`: where the clock of the file starts anew, times go on. Without timestamps they follow from
    the rate; of a bare stream, whose rate nobody knows, they are NaN. Reads the whole file but decodes nothing; a
    damaged file may yield fewer frames when it is decoded.
    Raises DataError for a file that is missing or not a video.
    """
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container, path)
            found = (packet for packet in container.demux(stream) if packet.size and not packet.is_discard)
            packets = [(p.dts if p.pts is None else p.pts, p.is_keyframe) for p in found]  # .avi has only dts
            base, rate = float(stream.time_base or 1), float(mean_rate(stream)) if has_clock(container) else None
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path}: cannot be read as a video ({error}); replace or remove it") from None
    if not packets:
        raise DataError(f"{path}: holds no frame; copy it again or remove it")
    clock = Clock.from_times(_in_order_shown(packets) * base, fps=rate, name=str(path))
    return np.asarray(clock.times_s - clock.times_s[0])


def _in_order_shown(packets: Sequence[tuple[int | None, bool]]) -> np.ndarray:
    """Timestamps (T,) in the order in which frames are shown, of packets (timestamp, key) as they are stored.

    Frames are stored out of order between two restarts of the clock, which begin with a key frame. NaN: none.
    """
    stamps = np.array([np.nan if stamp is None else stamp for stamp, _ in packets], dtype=np.float64)
    starts, newest = [0], -math.inf
    for place, (stamp, key) in enumerate(packets):
        if stamp is None:
            continue
        if key and stamp <= newest:
            starts.append(place)
            newest = -math.inf
        newest = max(newest, stamp)
    for start, stop in pairwise([*starts, len(stamps)]):
        own = stamps[start:stop]
        own[~np.isnan(own)] = np.sort(own[~np.isnan(own)])
    return stamps


def frame_size(path: Path) -> tuple[int, int]:
    """(H, W) of a video's frames as they are stored, before any rotation; DataError when it cannot be read."""
    if path.is_dir():
        pictures = images_in(path, recursive=False)
        if not pictures:
            raise DataError(f"{path}: no picture in it; expected the frames of a video")
        return image_size(pictures[0])
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container, path)
            return stream.height, stream.width
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path}: cannot be read as a video ({error}); replace or remove it") from None


def _video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    if not container.streams.video:
        raise DataError(f"{path}: holds no video stream (sound only?); replace or remove it")
    return container.streams.video[0]
