"""A watched folder: yields each new image once, as soon as it is completely written."""

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

from offnormal.errors import ImageError, VideoError, counted
from offnormal.files import explain_write_errors, set_aside, write_text
from offnormal.sources.deep import Levels
from offnormal.sources.image import deep_colors, open_image, reading_notes, to_rgb
from offnormal.sources.live_stream import LiveImage
from offnormal.sources.once_log import OnceLog
from offnormal.sources.pages import pages_in, parse_address
from offnormal.sources.paths import is_image, natural_key
from offnormal.types import MAX_IMAGE_PIXELS

log = logging.getLogger(__name__)

_GIVE_UP_S = 10.0  # an unreadable file that is older counts as damaged
_SPARE_LINES = 1000  # lines of deleted images that the memory file may contain beyond the number of present ones
_SCAN_SHARE = 5  # pause between scans, in scan times: for folders with very many files


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderWatchOptions:
    """Options for watching a folder."""

    poll_s: float = 0.2  # between two scans
    settle_s: float = 0.5  # an image unchanged for this time counts as written
    existing: bool = False  # also yield images that exist at the start
    memory: Path | None = (
        None  # file that records yielded images for the next start; `existing` then applies to the first
    )
    levels: Levels | None = None  # values of deep images that become 0 and 1
    max_pixels: int = MAX_IMAGE_PIXELS
    notes: OnceLog | None = None  # logs images that differ in depth from the training images


_Version = tuple[int, int]  # bytes, modification time in ns: an overwritten file is a new image


class WatchedFolder:
    """Yields images of a folder and its subfolders as they appear.

    An image is yielded once it has stopped changing and can be fully decoded; one that stays unreadable is skipped with
    a warning. Images of one scan come in natural order. `images` raises VideoError while the folder is unreadable; a
    later call continues.
    """

    def __init__(self, folder: Path, options: FolderWatchOptions) -> None:
        self.folder, self.options = folder, options
        self._processed: dict[Path, _Version] | None = None
        self._unreadable: set[Path] = set()
        self._lines = 0  # lines in the memory file

    def images(self, stop: threading.Event) -> Iterator[LiveImage]:
        """Yield new images until `stop` is set; an image counts as processed when the next one is requested."""
        if self._processed is None:
            self._processed = self._load_processed()
        fresh: dict[Path, tuple[_Version, float]] = {}  # each version and the time of its first scan
        while not stop.is_set():
            start_s = time.monotonic()
            present = self._scan()
            scan_s = time.monotonic() - start_s
            for path in [path for path in self._processed if path not in present]:
                del self._processed[path]
            self._unreadable = {path for path in self._unreadable if (parse_address(path) or (path,))[0] in present}
            new_paths = [path for path, version in present.items() if self._processed.get(path) != version]
            fresh = {
                path: fresh[path] if path in fresh and fresh[path][0] == present[path] else (present[path], start_s)
                for path in new_paths
            }
            for path in sorted(new_paths, key=natural_key):
                if start_s - fresh[path][1] >= self.options.settle_s:
                    yield from self._read_pages(path, present[path])
            stop.wait(max(self.options.poll_s, _SCAN_SHARE * scan_s))

    def _scan(self) -> dict[Path, _Version]:
        present: dict[Path, _Version] = {}

        def raise_for_root(error: OSError) -> None:
            if Path(error.filename) == self.folder:
                raise VideoError(f"failed: {self.folder}: cannot be read ({error.strerror})")

        for parent, folders, names in os.walk(self.folder, onerror=raise_for_root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for path in (Path(parent, name) for name in names):
                if is_image(path):
                    with contextlib.suppress(OSError):  # deleted since
                        stat = path.stat()
                        present[path] = (stat.st_size, stat.st_mtime_ns)
        return present

    def _read_pages(self, path: Path, version: _Version) -> Iterator[LiveImage]:
        """Yield every page or frame of an image file, then mark it as processed, unless it is not readable (yet)."""
        pages, _ = pages_in(path)
        for number, page in enumerate(pages):
            image = self._read_image(page, gives_up=number > 0 or time.time() - version[1] / 1e9 > _GIVE_UP_S)
            if image is not None:
                yield image
            elif number == 0:
                return
        self._mark_processed(path, version)

    def _read_image(self, path: Path, *, gives_up: bool) -> LiveImage | None:
        """Read an image; None: not readable, which is logged once if it will not be tried again."""
        levels = self.options.levels
        try:
            decoded = open_image(path, max_pixels=self.options.max_pixels)
            image = to_rgb(decoded, levels=levels)
            if self.options.notes is not None:
                for note in reading_notes(decoded, levels):
                    self.options.notes.warn(path, note)
        except ImageError as error:
            if gives_up and path not in self._unreadable:
                self._unreadable.add(path)
                log.warning("%s; skipped", error)
            return None
        self._unreadable.discard(path)
        return LiveImage(None, partial(np.asarray, image), path, deep=deep_colors(decoded, levels))

    def _load_processed(self) -> dict[Path, _Version]:
        memory, present = self.options.memory, self._scan()
        if memory is None or not memory.is_file():
            processed = {} if self.options.existing else present
        else:
            stored, damaged = _read_memory(memory)
            processed = {self.folder / name: version for name, version in stored.items()}
            if damaged:
                aside, number = set_aside(memory), counted(damaged, "damaged line")
                log.warning(
                    "%s: %s, now %s; %s", memory, number, aside,
                    "their images are read again" if stored else "the images that are there now are not read",
                )  # fmt: skip
                processed = processed or ({} if self.options.existing else present)
            processed = {path: version for path, version in processed.items() if path in present}
        if memory is not None:
            self._rewrite(memory, processed)
        return processed

    def _rewrite(self, memory: Path, processed: dict[Path, _Version]) -> None:
        write_text(memory, "".join(self._line(path, version) for path, version in processed.items()))
        self._lines = len(processed)

    def _mark_processed(self, path: Path, version: _Version) -> None:
        assert self._processed is not None
        self._processed[path] = version
        if self.options.memory is not None:
            if self._lines > 2 * len(self._processed) + _SPARE_LINES:
                self._rewrite(self.options.memory, self._processed)
                return
            with explain_write_errors(self.options.memory), self.options.memory.open("a", encoding="utf-8") as file:
                file.write(self._line(path, version))
            self._lines += 1

    def _line(self, path: Path, version: _Version) -> str:
        return json.dumps([path.relative_to(self.folder).as_posix(), *version]) + "\n"


def _read_memory(memory: Path) -> tuple[dict[str, _Version], int]:
    """The processed images, and the number of damaged lines.

    An incomplete last line is not damage: the program was killed.
    """
    processed: dict[str, _Version] = {}
    damaged = 0
    for line in memory.read_bytes().splitlines(keepends=True):
        try:
            name, size, changed = json.loads(line)
            if not isinstance(name, str):
                raise TypeError
            processed[name] = int(size), int(changed)
        except (ValueError, TypeError, RecursionError, ArithmeticError):
            damaged += line.endswith(b"\n")
    return processed, damaged
