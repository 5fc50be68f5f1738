"""When the frames of a video are shown, and how large they are: from its packets, without decoding a picture."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from offnormal.errors import DataError
from offnormal.sources.image import image_size
from offnormal.sources.paths import images_in


def count_frames(folder: Path) -> int:
    """Number of frames in a folder of pictures."""
    return len(images_in(folder, recursive=False))


def frame_times(path: Path) -> np.ndarray:
    """Seconds since the first frame at which each frame of a video file is shown, (T,) float64, ascending.

    Reads the whole file but decodes nothing; a damaged file may yield fewer frames when it is decoded.
    Raises DataError for a file that is missing, not a video or without timestamps.
    """
    try:
        with av.open(str(path)) as container:
            stream = _video_stream(container, path)
            packets = (packet for packet in container.demux(stream) if packet.size and not packet.is_discard)
            stamps = [packet.dts if packet.pts is None else packet.pts for packet in packets]  # .avi has only dts
            base = stream.time_base
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{path}: cannot be read as a video ({error}); replace or remove it") from None
    if not stamps or base is None or None in stamps:
        raise DataError(f"{path}: its frames have no timestamps; give one label a frame, or convert it to .mp4")
    times = np.sort(np.array(stamps, dtype=np.float64)) * float(base)
    return np.asarray(times - times[0])


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
