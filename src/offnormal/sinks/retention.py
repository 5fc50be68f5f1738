"""How long pictures and clips of events stay: the oldest give way, by their age or where there are too many."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

SWEEP_S = 600.0  # between two looks
_OF_AN_EVENT = re.compile(r"(\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8})(?:-opened)?(?:-heat)?\.(?:jpg|mp4|json)")
_DAY_S, _GB = 86_400.0, 1e9


@dataclass(slots=True)
class _Files:
    """Of one event."""

    paths: list[Path] = field(default_factory=list)
    size: int = 0
    newest_s: float = 0.0


class Retention:
    """Removes files of events below a folder, and folders that this leaves empty; of anything else nothing.

    days: how long files stay after they were written; gigabytes: how much all of them take at most, when looked at;
    None: for ever, and as much as there is.
    """

    def __init__(self, folder: Path, *, days: float | None, gigabytes: float | None) -> None:
        self.folder = folder
        self.days, self.gigabytes = days, gigabytes
        self._looked_s: float | None = None

    def look(self) -> None:
        """Remove what is to go, unless it was looked for within the last ten minutes."""
        now_s = time.monotonic()
        if self._looked_s is None or now_s - self._looked_s >= SWEEP_S:
            self._looked_s = now_s
            self.sweep(time.time())

    def sweep(self, now_s: float) -> int:
        """Remove what is to go, by the time of day; the number of events whose files went."""
        if self.days is None and self.gigabytes is None:
            return 0
        events: dict[str, _Files] = {}
        for entry, event in _files(self.folder):
            with suppress(FileNotFoundError):  # somebody else removed it
                found = entry.stat(follow_symlinks=False)
                files = events.setdefault(event, _Files())
                files.paths.append(Path(entry.path))
                files.size += found.st_size
                files.newest_s = max(files.newest_s, found.st_mtime)
        total, removed, refused = sum(files.size for files in events.values()), 0, ""
        for _, files in sorted(events.items()):  # ids begin with the time
            old = self.days is not None and now_s - files.newest_s > self.days * _DAY_S
            if not old and (self.gigabytes is None or total <= self.gigabytes * _GB):
                continue
            total -= files.size
            removed += 1
            for path in files.paths:
                try:
                    self._remove(path)
                except OSError as error:
                    refused = f"{path}: cannot be removed ({error.strerror})"
        if refused:
            log.warning("%s", refused)
        if removed:
            log.info("%s: files of %d old event(s) removed", self.folder, removed)
        return removed

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self.folder:
                return
            try:
                folder.rmdir()
            except OSError:  # there is more in it
                return


def _files(folder: Path) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Files of events and the ids of these, hidden folders left out."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith("."):
                        yield from _files(Path(entry.path))
                elif named := _OF_AN_EVENT.fullmatch(entry.name):
                    yield entry, named[1]
    except FileNotFoundError:
        return
