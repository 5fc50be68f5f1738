"""How long images and clips of events stay: the oldest give way, by their age or where there are too many."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger(__name__)

SWEEP_S = 600.0  # between two looks
_ID = r"(?P<id>\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8})"
_OF_AN_EVENT = re.compile(rf"{_ID}(?:-opened)?(?:-heat)?\.(?:jpg|mp4|json)")
_UNFINISHED = re.compile(rf"\.{_ID}[-a-z]*\.[0-9a-f]{{8}}\.partial\.(?:jpg|mp4|json)")  # of a program that was killed
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_DAY_S, _GB = 86_400.0, 1e9
_FRESH_S = 3600.0  # so young a file may still be on its way to somebody: it is not removed for room
_EPOCH_S = 1.5e9  # 2017: files written before that were by a machine that did not know the time yet
_STEADY_S = 60.0  # by which two looks may find the clock set: more, and nothing is known of ages


@dataclass(slots=True)
class _Files:
    """Of one event."""

    began_s: float  # as its id says
    paths: dict[str, int] = field(default_factory=dict)  # and their bytes
    newest_s: float = -math.inf  # when the last of them was written

    @property
    def size(self) -> int:
        return sum(self.paths.values())


class Retention:
    """Removes files of events from FOLDER/DAY/, or FOLDER/DAY/CAMERA/, and folders that this leaves empty.

    Nothing else is touched. days: how long files stay, by the event's time and by when they were written; gigabytes:
    how much all of them take at most, when looked at, but for the last hour's; None: for ever, and as much as there is.
    """

    def __init__(self, folder: Path, *, days: float | None, gigabytes: float | None, cameras: bool = False) -> None:
        """cameras: folders of days have one for each camera."""
        self.folder = folder
        self.days, self.gigabytes = days, gigabytes
        self._cameras = cameras
        self._looked_s: float | None = None  # by a clock that is never set
        self._ahead_s: float | None = None  # the time of day, less that

    def look(self) -> None:
        """Remove what is to go, unless it was looked for within the last ten minutes.

        Ages count from the second look on, and only while nobody sets the clock: a machine may begin with a wrong one.
        """
        now_s = time.monotonic()
        if self._looked_s is None or now_s - self._looked_s >= SWEEP_S:
            ahead_s = time.time() - now_s
            steady = self._ahead_s is not None and abs(ahead_s - self._ahead_s) < _STEADY_S
            self._looked_s, self._ahead_s = now_s, ahead_s
            self.sweep(time.time(), ages=steady)

    def sweep(self, now_s: float, *, ages: bool = True) -> int:
        """Remove what is to go, by the time of day; the number of events whose files went. ages: go by them, too."""
        if self.days is None and self.gigabytes is None:
            return 0
        troubles: list[str] = []
        events = self._events(troubles)
        total, removed = sum(files.size for files in events), 0
        for files in sorted(events, key=lambda one: one.newest_s):
            known = ages and files.newest_s > _EPOCH_S
            age_s = now_s - max(files.newest_s, files.began_s)
            old = known and self.days is not None and age_s > self.days * _DAY_S
            crowded = self.gigabytes is not None and total > self.gigabytes * _GB
            if not old and not (crowded and abs(now_s - files.newest_s) > _FRESH_S):
                continue
            freed = self._removed(files, troubles)
            total -= freed
            removed += freed == files.size
        if troubles:
            log.warning("%s: old files stay: %s", self.folder, "; ".join(troubles[:3]))
        if removed:
            log.info("%s: files of %d old event(s) removed", self.folder, removed)
        return removed

    def _events(self, troubles: list[str]) -> list[_Files]:
        found: dict[str, _Files] = {}
        for day in _entries(self.folder, troubles):
            if not (_DAY.fullmatch(day.name) and day.is_dir(follow_symlinks=False)):
                continue
            folders = [day]
            if self._cameras:
                folders = [one for one in _entries(Path(day.path), troubles) if one.is_dir(follow_symlinks=False)]
            for folder in folders:
                for entry in _entries(Path(folder.path), troubles):
                    named = _OF_AN_EVENT.fullmatch(entry.name) or _UNFINISHED.fullmatch(entry.name)
                    if named is None or not named["id"].startswith(day.name.replace("-", "")):
                        continue
                    try:
                        known = entry.stat(follow_symlinks=False)
                    except OSError as error:  # somebody else removed it
                        troubles.extend([] if isinstance(error, FileNotFoundError) else [_said(error, entry.path)])
                        continue
                    files = found.setdefault(f"{folder.path} {named['id']}", _Files(_time(named["id"])))
                    files.paths[entry.path] = known.st_size
                    files.newest_s = max(files.newest_s, known.st_mtime)
        return list(found.values())

    def _removed(self, files: _Files, troubles: list[str]) -> int:
        """Bytes that were freed."""
        freed = 0
        for name, size in files.paths.items():
            path = Path(name)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                troubles.append(_said(error, name))
                continue
            freed += size
            for folder in (path.parent, path.parent.parent) if self._cameras else (path.parent,):
                try:
                    folder.rmdir()
                except OSError:  # there is more in it
                    break
        return freed


def _entries(folder: Path, troubles: list[str]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        return
    except OSError as error:
        troubles.append(_said(error, str(folder)))


def _said(error: OSError, path: str) -> str:
    return f"{path} ({error.strerror})"


def _time(event: str) -> float:
    """When an event began, by its id."""
    try:
        return datetime.strptime(event.partition("-")[0], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC).timestamp()
    except ValueError:  # no such day
        return math.inf
