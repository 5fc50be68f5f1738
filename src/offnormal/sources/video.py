"""Videos as a user names them: files of any container, and folders of frames."""

from __future__ import annotations

from pathlib import Path

from offnormal.errors import VideoError
from offnormal.sources.frame_folder import FrameFolder
from offnormal.sources.paths import as_written, is_picture, natural_key
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

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".asf"}
    | {".flv", ".3gp", ".ogv", ".vob", ".mxf", ".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc"}
)


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


def is_video(path: Path) -> bool:
    """Whether the name ends like a video file's and is not hidden (`._x.mp4`)."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def videos_in(folder: Path) -> list[Path]:
    """The video files that lie directly in a folder, naturally sorted; hidden ones are passed over."""
    return sorted((path for path in folder.iterdir() if is_video(path) and path.is_file()), key=natural_key)


def is_frame_folder(path: Path) -> bool:
    """Whether a folder holds pictures directly, so that it can be read as a video."""
    return path.is_dir() and any(is_picture(each) and each.is_file() for each in path.iterdir())
