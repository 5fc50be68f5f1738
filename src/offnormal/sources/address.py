"""What a user names as a source of pictures, and how it may be shown to others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from offnormal.errors import UsageError
from offnormal.redact import HIDDEN, redact
from offnormal.sources.paths import as_written

Kind = Literal["rtsp", "http", "device", "file", "folder"]
_SCHEMES: dict[str, Kind] = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http"}
_DEVICE = re.compile(r"v4l2:|/dev/video\d+$")
_LOGIN = re.compile(r"(?<=://)[^/?#]*@")


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
