"""Paths and addresses of images, videos, and cameras."""

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
_BARE = frozenset({".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc", ".y4m"})  # streams without a container
VIDEO_SUFFIXES = _MPEG | _BARE | {".avi", ".mkv", ".mov", ".webm", ".wmv", ".asf", ".flv", ".ogv", ".mxf"}
Kind = Literal["rtsp", "http", "device", "file", "folder"]
_SCHEMES: dict[str, Kind] = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http"}
_DEVICE = re.compile(r"v4l2:|/dev/video\d+$")
_LOGIN = re.compile(r"(?<=://)[^/?#]*@")


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Return a unique sort key that puts `2.png` before `10.png`, folder by folder.

    >>> sorted([Path("a/10.png"), Path("a/2.png")], key=natural_key)[0].name
    '2.png'
    """
    pieces = (piece for part in path.parts for piece in (*re.split(r"(\d+)", part.casefold()), ""))
    key = tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces)
    return (*key, (2, 0, str(path)))  # orders `a` and `A`, `1` and `01` alike everywhere


def is_image(path: Path) -> bool:
    """Whether the name has an image suffix and is not hidden (`._x.jpg`)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def is_video(path: Path) -> bool:
    """Whether the name has a video suffix and is not hidden (`._x.mp4`)."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def may_lack_clock(path: Path) -> bool:
    """Whether a video may lack timestamps: a folder of frames, or a stream without a container."""
    return path.is_dir() or path.suffix.lower() in _BARE


def images_in(folder: Path, *, recursive: bool = True) -> list[Path]:
    """Return every image file in a folder, naturally sorted; hidden files and folders are skipped."""
    return _files_in(folder, is_image, recursive=recursive)


def videos_in(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Return every video file in a folder, naturally sorted; hidden files and folders are skipped."""
    return _files_in(folder, is_video, recursive=recursive)


def _files_in(folder: Path, matches: Callable[[Path], bool], *, recursive: bool) -> list[Path]:
    def is_visible(path: Path) -> bool:
        return not any(part.startswith(".") for part in path.relative_to(folder).parts)

    paths = folder.rglob("*") if recursive else folder.iterdir()
    return sorted((p for p in paths if matches(p) and is_visible(p) and p.is_file()), key=natural_key)


def is_frame_folder(path: Path) -> bool:
    """Whether a folder directly contains images (the frames of one video) and no video file."""
    if not path.is_dir():
        return False
    names = list(path.iterdir())
    return any(map(is_image, names)) and not any(map(is_video, names))


def videos_below(folder: Path) -> list[Path]:
    """Return video files and frame folders at any depth below a folder, naturally sorted."""
    return sorted(_walk_videos(folder), key=natural_key)


def _walk_videos(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if is_frame_folder(path):
                yield path
            else:
                yield from _walk_videos(path)
        elif is_video(path):
            yield path


def to_local_path(name: str | Path) -> Path:
    """Convert Windows backslashes to slashes if only the converted path exists."""
    path, portable = Path(name), Path(str(name).replace("\\", "/"))
    return portable if portable.exists() and not path.exists() else path


def glob_matches(pattern: str) -> list[Path]:
    """Return the folders, images, and videos that match a glob, naturally sorted.

    Tries the pattern unchanged, then with \\ as / (Windows) and with a literal [ (`lot [1]/*.png`); the first variant
    with a match counts.
    """
    portable = pattern.replace("\\", "/")
    for variant in dict.fromkeys((pattern, portable, pattern.replace("[", "[[]"), portable.replace("[", "[[]"))):
        paths = map(Path, glob.glob(variant, recursive=True))  # noqa: PTH207 - Path.glob refuses absolute patterns
        if matches := [path for path in paths if path.is_dir() or is_image(path) or is_video(path)]:
            return sorted(matches, key=natural_key)
    return []


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """A source of frames; `str` hides its credentials."""

    kind: Kind
    target: str  # address, device, or path to open

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse `rtsp://`, `http(s)://`, `v4l2:/dev/video0`, or the path of a video file or folder.

        Raises UsageError for another scheme or a missing path.
        """
        scheme, separator, _ = text.partition("://")
        if separator:
            kind = _SCHEMES.get(scheme.lower())
            if _has_unescaped_login(text):  # not printed: the end of its password is unknown
                raise UsageError(
                    f"{scheme}://... has an @ after the first / ? or #; expected the URL with / ? # @ in user and "
                    "password written as %2F %3F %23 %40"
                )
            if kind is None or not _host(text):
                raise UsageError(
                    f"{redact(text)}: not a source; expected rtsp://HOST/..., http(s)://HOST/..., "
                    "v4l2:/dev/video0, a video file, or a folder"
                )
            return cls(kind, text)
        if _DEVICE.match(text):
            return cls("device", text.removeprefix("v4l2:"))
        path = to_local_path(text)
        if not text or not path.exists():
            raise UsageError(
                f"{text!r}: no such file or folder; expected a video file, a folder that receives images, "
                "v4l2:/dev/video0, rtsp://HOST/..., or http(s)://HOST/..."
            )
        return cls("folder" if path.is_dir() else "file", str(path))

    @property
    def path(self) -> Path:
        """The path of a file or folder."""
        return Path(self.target)

    @property
    def is_endless(self) -> bool:
        """Whether the source has no end of its own: everything but a file."""
        return self.kind != "file"

    def scrub(self, text: str) -> str:
        """Remove this source's credentials from a message, in every spelling."""
        login = _LOGIN.search(self.target) if self.kind in ("rtsp", "http") else None
        for secret in _login_spellings(login[0][:-1]) if login else ():
            text = text.replace(secret, HIDDEN)
        return redact(text)

    def __str__(self) -> str:
        return redact(self.target)

    def __repr__(self) -> str:
        return f"Address({self.kind!r}, {str(self)!r})"


def _has_unescaped_login(text: str) -> bool:
    """Whether parsing would cut the host inside a password: `admin:pa` in rtsp://admin:pa/ss@10.0.0.5/1."""
    scheme, _, after_scheme = text.partition("://")
    host, _, tail = after_scheme.replace("?", "/").replace("#", "/").partition("/")
    _, colon, port = host.rpartition("]")[2].partition(":")
    if "@" not in tail or "@" in host or not colon:
        return False
    return not port.isdecimal() or scheme.lower().startswith("rtsp")


def _host(text: str) -> str | None:
    try:
        return urlsplit(text).hostname
    except ValueError:
        return None


def _login_spellings(login: str) -> list[str]:
    """Return `user:password` and the password, each as written, decoded, and encoded, longest first."""
    _, _, password = login.partition(":")
    spellings = {encode(part) for part in (login, password) if part for encode in (str, unquote, quote)}
    return sorted((spelling for spelling in spellings if len(spelling) > 2), key=len, reverse=True)
