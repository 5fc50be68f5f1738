"""Number, times, and size of a video's frames, without decoding where that is possible."""

from __future__ import annotations

from pathlib import Path

from offnormal.errors import DataError
from offnormal.metrics.clock import Clock
from offnormal.sources.container import TRUNCATED, open_container
from offnormal.sources.image import image_size
from offnormal.sources.pages import pages_in
from offnormal.sources.paths import images_in
from offnormal.sources.video import open_video


def count_frames(video: Path) -> int:
    """Return the number of frames of a folder of frames or of a video file, as `VideoReader` counts them.

    A damaged file may yield fewer frames. Raises VideoError if the file cannot be read.
    """
    if video.is_dir():
        return sum(len(pages_in(file)[0]) for file in images_in(video, recursive=False))
    return len(read_clock(video).times_s)


def mean_fps(video: Path) -> float | None:
    """Return the frames per second that a video file states; None: it has no clock. VideoError if it is unreadable."""
    with open_video(video) as reader:
        return reader.info.fps


def is_truncated(video: Path) -> bool:
    """Whether a video file has fewer frames than its header states; VideoError if it cannot be read."""
    with open_video(video) as reader:
        reader.times()
        return any(f"{TRUNCATED}: " in warning for warning in reader.warnings)


def read_clock(path: Path) -> Clock:
    """Return the clock of a video file, from 0 s at its first frame.

    Reads the whole file, and decodes it only if its timestamps do not number its frames. Raises VideoError if the file
    cannot be read.
    """
    with open_video(path) as reader:
        times = reader.times()
        return Clock.from_times(times, fps=reader.info.fps, restarts=reader.restarts, name=str(path))


def frame_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of a video's frames as stored, before any rotation; DataError if it cannot be read."""
    if path.is_dir():
        images = images_in(path, recursive=False)
        if not images:
            raise DataError(f"{path}: contains no image; expected the frames of a video")
        return image_size(images[0])
    container, stream = open_container(path)
    with container:
        return stream.height, stream.width
