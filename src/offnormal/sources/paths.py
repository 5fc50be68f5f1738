"""What names stand for: images and videos by their names alone, globs, and the sources of frames that are watched."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from offnormal.errors import UsageError
from offnormal.redact import HIDDEN, redact
from offnormal.sources.image import SUFFIXES

_MPEG = frozenset({".mp4", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob", ".3gp"})
_BARE = frozenset({".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc", ".y4m"})  # no container around them
VIDEO_SUFFIXES = _MPEG | _BARE | {".avi", ".mkv", ".mov", ".webm", ".wmv", ".asf", ".flv", ".ogv", ".mxf"}
Kind = Literal["rtsp", "http", "device", "file", "folder"]
_SCHEMES: dict[str, Kind] = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http"}
_DEVICE = re.compile(r"v4l2:|/dev/video\d+$")
_LOGIN = re.compile(r"(?<=://)[^/?#]*@")


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


def may_lack_clock(path: Path) -> bool:
    """Whether a video may have no clock of its own: a folder of frames, or a stream without a container."""
    return path.is_dir() or path.suffix.lower() in _BARE


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


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """A source as it was named; shown without credentials."""

    kind: Kind
    target: str  # address, device or path as it is opened

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `rtsp://`, `http(s)://`, `v4l2:/dev/video0`, or the path of a video file or folder.

        Raises UsageError for another scheme and for a path where nothing is.
        """
        scheme, separator, _ = text.partition("://")
        if separator:
            kind = _SCHEMES.get(scheme.lower())
            if _torn_login(text):  # shown nowhere, since nobody knows where its password ends
                raise UsageError(
                    f"{scheme}://... with an @ behind the first / ? or #: expected them as %2F %3F %23 and @ as %40, "
                    "in user and password, too"
                )
            if kind is None or not _host(text):
                raise UsageError(
                    f"{redact(text)}: not a source; expected rtsp://HOST/..., http(s)://HOST/..., "
                    "v4l2:/dev/video0, a video file or a folder"
                )
            return cls(kind, text)
        if _DEVICE.match(text):
            return cls("device", text.removeprefix("v4l2:"))
        path = as_written(text)
        if not text or not path.exists():
            raise UsageError(
                f"{text!r}: no such file or folder; expected a video file, a folder that is filled with pictures, "
                "v4l2:/dev/video0, rtsp://HOST/... or http(s)://HOST/..."
            )
        return cls("folder" if path.is_dir() else "file", str(path))

    @property
    def path(self) -> Path:
        """Of a file or folder."""
        return Path(self.target)

    @property
    def lasts(self) -> bool:
        """Whether there is always more to come."""
        return self.kind != "file"

    def scrub(self, text: str) -> str:
        """A message about this source without its credentials, however they are written in it."""
        found = _LOGIN.search(self.target) if self.kind in ("rtsp", "http") else None
        for secret in _spellings(found[0][:-1]) if found else ():
            text = text.replace(secret, HIDDEN)
        return redact(text)

    def __str__(self) -> str:
        return redact(self.target)

    def __repr__(self) -> str:
        return f"Address({self.kind!r}, {str(self)!r})"


def _torn_login(text: str) -> bool:
    """Whether what stands for the host ends within a password: `admin:pa` of rtsp://admin:pa/ss@10.0.0.5/1."""
    scheme, _, behind = text.partition("://")
    host, _, rest = behind.replace("?", "/").replace("#", "/").partition("/")
    _, colon, port = host.rpartition("]")[2].partition(":")
    if "@" not in rest or "@" in host or not colon:
        return False
    return not port.isdecimal() or scheme.lower().startswith("rtsp")


def _host(text: str) -> str | None:
    try:
        return urlsplit(text).hostname
    except ValueError:
        return None


def _spellings(login: str) -> list[str]:
    """`user:password` and the password alone, as written, decoded and encoded; the longest first."""
    _, _, password = login.partition(":")
    ways = {way(part) for part in (login, password) if part for way in (str, unquote, quote)}
    return sorted((way for way in ways if len(way) > 2), key=len, reverse=True)
