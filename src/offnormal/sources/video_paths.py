"""Which files and folders are videos: by their names and what lies in them, nothing is opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from offnormal.sources.paths import is_picture, natural_key

_MPEG = frozenset({".mp4", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob", ".3gp"})
_BARE = frozenset({".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc", ".y4m"})  # no container around them
VIDEO_SUFFIXES = _MPEG | _BARE | {".avi", ".mkv", ".mov", ".webm", ".wmv", ".asf", ".flv", ".ogv", ".mxf"}


def is_video(path: Path) -> bool:
    """Whether the name ends like a video file's and is not hidden (`._x.mp4`)."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def videos_in(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Every video file in a folder, naturally sorted; hidden files and folders are passed over."""
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(
        (
            path
            for path in found
            if is_video(path)
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            and path.is_file()
        ),
        key=natural_key,
    )


def is_frame_folder(path: Path) -> bool:
    """Whether a folder directly holds pictures, the frames of one video, and no video file."""
    if not path.is_dir():
        return False
    names = list(path.iterdir())
    return any(is_picture(name) for name in names) and not any(is_video(name) for name in names)


def videos_below(folder: Path) -> list[Path]:
    """Video files and frame folders below a folder at any depth, naturally sorted; not the folder itself."""
    return sorted(_below(folder), key=natural_key)


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if is_frame_folder(path):
                yield path
            else:
                yield from _below(path)
        elif is_video(path):
            yield path
