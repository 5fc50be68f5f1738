"""Which files are images and which are videos, by their names alone, and what a name on the command line stands for."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from offnormal.sources.image import SUFFIXES

_MPEG = frozenset({".mp4", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob", ".3gp"})
_BARE = frozenset({".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc", ".y4m"})  # no container around them
VIDEO_SUFFIXES = _MPEG | _BARE | {".avi", ".mkv", ".mov", ".webm", ".wmv", ".asf", ".flv", ".ogv", ".mxf"}


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which `2.png` comes before `10.png`, folder by folder; no two paths share one.

    >>> sorted([Path("a/10.png"), Path("a/2.png")], key=natural_key)[0].name
    '2.png'
    """
    pieces = (piece for part in path.parts for piece in (*re.split(r"(\d+)", part.casefold()), ""))
    key = tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces)
    return (*key, (2, 0, str(path)))  # `a` and `A`, `1` and `01`: in the same order on every file system


def is_image(path: Path) -> bool:
    """Whether the name ends like an image's and is not hidden (`._x.jpg`)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def is_video(path: Path) -> bool:
    """Whether the name ends like a video file's and is not hidden (`._x.mp4`)."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def images_in(folder: Path, *, recursive: bool = True) -> list[Path]:
    """Every image file in a folder, naturally sorted; hidden files and folders are skipped."""
    return _files_in(folder, is_image, recursive=recursive)


def videos_in(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Every video file in a folder, naturally sorted; hidden files and folders are skipped."""
    return _files_in(folder, is_video, recursive=recursive)


def _files_in(folder: Path, is_wanted: Callable[[Path], bool], *, recursive: bool) -> list[Path]:
    def is_visible(path: Path) -> bool:
        return not any(part.startswith(".") for part in path.relative_to(folder).parts)

    paths = folder.rglob("*") if recursive else folder.iterdir()
    return sorted((p for p in paths if is_wanted(p) and is_visible(p) and p.is_file()), key=natural_key)


def is_frame_folder(path: Path) -> bool:
    """Whether a folder directly holds images, the frames of one video, and no video file."""
    if not path.is_dir():
        return False
    names = list(path.iterdir())
    return any(map(is_image, names)) and not any(map(is_video, names))


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


def as_written(name: str | Path) -> Path:
    """The path a user wrote; one written on Windows, with backslashes, is understood elsewhere where it exists.

    A name that exists with its backslashes is left alone.
    """
    path, portable = Path(name), Path(str(name).replace("\\", "/"))
    return portable if portable.exists() and not path.exists() else path


def glob_matches(pattern: str) -> list[Path]:
    """Folders, images and videos that a glob finds, naturally sorted.

    It is read as it stands, then with \\ as / (Windows) and [ as itself (`lot [1]/*.png`); the first reading that
    finds any counts.
    """
    portable = pattern.replace("\\", "/")
    for reading in dict.fromkeys((pattern, portable, pattern.replace("[", "[[]"), portable.replace("[", "[[]"))):
        paths = map(Path, glob.glob(reading, recursive=True))  # noqa: PTH207 - absolute ones too
        if matches := [path for path in paths if path.is_dir() or is_image(path) or is_video(path)]:
            return sorted(matches, key=natural_key)
    return []
