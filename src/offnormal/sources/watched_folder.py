"""A folder that is being filled with pictures: each one once, as soon as it is written completely."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from offnormal.errors import ConfigError, ImageError, VideoError
from offnormal.files import explained, write_text
from offnormal.sources.image import as_rgb, open_image
from offnormal.sources.live_stream import Shot
from offnormal.sources.paths import is_image, natural_key

log = logging.getLogger(__name__)

_GIVEN_UP_S = 10.0  # a file that has not changed for so long and still cannot be read never will be
_SPARE = 1000  # lines of pictures gone since that the memory's file may hold, besides as many as are there
_SHARE = 5  # times as long as a look takes are between two: of folders with very many files


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """How a folder is watched."""

    poll_s: float = 0.2  # seconds between two looks
    settle_s: float = 0.5  # unchanged for so long, a picture counts as written
    existing: bool = False  # whether pictures that lie there at the start are given too
    memory: Path | None = None  # file of what was given, for the next start; then `existing` is for the first
    bits: int = 16  # significant bits of 16-bit pictures


_Version = tuple[int, int]  # bytes, time of change in ns: a file that is written anew is another picture


class WatchedFolder:
    """Pictures of a folder and the folders below it, as they appear; `shots` goes on until it is told to stop.

    A picture is given when it has not changed for a while and can be decoded to its end; one that stays
    unreadable is passed over with a warning. Pictures found in one look come in natural order. Raises VideoError
    while the folder cannot be read; the same object then goes on where it was.
    """

    def __init__(self, folder: Path, how: Watching) -> None:
        self.folder, self.how = folder, how
        self._given: dict[Path, _Version] | None = None
        self._unread: set[Path] = set()
        self._lines = 0  # of the memory's file

    def shots(self, stop: threading.Event) -> Iterator[Shot]:
        """New pictures until `stop` is set; one counts as given when the next is asked for."""
        if self._given is None:
            self._given = self._remembered()
        since: dict[Path, tuple[_Version, float]] = {}  # when a version was seen first
        while not stop.is_set():
            start_s = time.monotonic()
            found = self._look()
            looked_s = time.monotonic() - start_s
            for path in [path for path in self._given if path not in found]:
                del self._given[path]
            self._unread &= found.keys()
            fresh = [path for path, version in found.items() if self._given.get(path) != version]
            since = {
                path: since[path] if path in since and since[path][0] == found[path] else (found[path], start_s)
                for path in fresh
            }
            for path in sorted(fresh, key=natural_key):
                if (
                    start_s - since[path][1] >= self.how.settle_s
                    and (image := self._read(path, found[path])) is not None
                ):
                    yield Shot(None, partial(np.asarray, image), path)
                    self._remember(path, found[path])
            stop.wait(max(self.how.poll_s, _SHARE * looked_s))

    def _look(self) -> dict[Path, _Version]:
        found: dict[Path, _Version] = {}

        def fail(error: OSError) -> None:
            if Path(error.filename) == self.folder:
                raise VideoError(f"failed: {self.folder}: cannot be read ({error.strerror})")

        for place, folders, names in os.walk(self.folder, onerror=fail):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for path in (Path(place, name) for name in names):
                if is_image(path):
                    with contextlib.suppress(OSError):  # gone since
                        stat = path.stat()
                        found[path] = (stat.st_size, stat.st_mtime_ns)
        return found

    def _read(self, path: Path, version: _Version) -> Image.Image | None:
        """The picture; None: not yet, or never."""
        try:
            image = as_rgb(open_image(path), bits=self.how.bits)
        except ImageError as error:
            if time.time() - version[1] / 1e9 > _GIVEN_UP_S and path not in self._unread:
                self._unread.add(path)
                log.warning("%s; it is passed over", error)
            return None
        self._unread.discard(path)
        return image

    def _remembered(self) -> dict[Path, _Version]:
        memory, found = self.how.memory, self._look()
        if memory is None or not memory.is_file():
            given = {} if self.how.existing else found
        else:
            given = {self.folder / name: version for name, version in _journal(memory)}
            given = {path: version for path, version in given.items() if path in found}
        if memory is not None:
            self._rewrite(memory, given)
        return given

    def _rewrite(self, memory: Path, given: dict[Path, _Version]) -> None:
        write_text(memory, "".join(self._line(path, version) for path, version in given.items()))
        self._lines = len(given)

    def _remember(self, path: Path, version: _Version) -> None:
        assert self._given is not None
        self._given[path] = version
        if self.how.memory is not None:
            if self._lines > 2 * len(self._given) + _SPARE:
                self._rewrite(self.how.memory, self._given)
                return
            with explained(self.how.memory), self.how.memory.open("a", encoding="utf-8") as file:
                file.write(self._line(path, version))
            self._lines += 1

    def _line(self, path: Path, version: _Version) -> str:
        return json.dumps([path.relative_to(self.folder).as_posix(), *version]) + "\n"


def _journal(memory: Path) -> Iterator[tuple[str, _Version]]:
    """What was given, in order; a last line that was cut off when the program was killed is left out."""
    lines = memory.read_text(encoding="utf-8").splitlines(keepends=True)
    try:
        for line in lines:
            if line.endswith("\n"):
                name, size, changed = json.loads(line)
                yield str(name), (int(size), int(changed))
    except (ValueError, TypeError):
        raise ConfigError(
            f"{memory}: not what remembers the pictures of a watched folder; remove it, or name another file"
        ) from None
