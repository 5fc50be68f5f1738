"""Videos as a user names them: files of any container, and folders of frames."""

from __future__ import annotations

from pathlib import Path

from offnormal.errors import VideoError
from offnormal.sources.frame_folder import FrameFolder
from offnormal.sources.paths import VIDEO_SUFFIXES, as_written, is_frame_folder, is_video, videos_in
from offnormal.sources.reader import VideoInfo, VideoReader

__all__ = [
    "VIDEO_SUFFIXES",
    "VideoInfo",
    "VideoReader",
    "is_frame_folder",
    "is_video",
    "open_video",
    "videos_in",
]


def open_video(path: str | Path, *, fps: float | None = None, bits: int | None = None) -> VideoReader:
    """A reader of a video file, or of a folder with pictures as its frames.

    fps: rate of a folder's frames, which have no clock of their own; a file keeps its own times. bits: significant
    bits of a folder's 16-bit pictures; None takes those that it uses, which may differ from folder to folder.
    Raises VideoError naming what is missing or cannot be read.
    """
    place = as_written(path)
    if place.is_dir():
        return FrameFolder(place, fps=fps, bits=bits)
    if fps is not None or bits is not None:
        raise VideoError(f"{place}: a rate or bits are given for folders of frames only; a video file states its own")
    from offnormal.sources.video_file import VideoFile

    return VideoFile(place)
