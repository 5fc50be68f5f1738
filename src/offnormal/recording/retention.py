"""Retention of event files: removes the oldest images and clips by age or total size."""

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

SWEEP_S = 600.0  # between two sweeps
_ID = r"(?P<id>\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8}(?:[0-9a-f]{8})?)"
_EVENT_FILE = re.compile(rf"{_ID}(?:-opened)?(?:-heat)?\.(?:jpg|mp4|json)")
_UNFINISHED = re.compile(rf"\.{_ID}[-a-z]*\.[0-9a-f-]+\.partial\.(?:jpg|mp4|json)")  # file of a killed program
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_DAY_S, _GB = 86_400.0, 1e9
_MIN_AGE_S = 3600.0  # younger files may still be in delivery; they are not removed to free space
_EPOCH_S = 1.5e9  # 2017: an earlier time means that the clock was not set yet
_STEADY_LIMIT_S = 60.0  # tolerance between sweeps; if the clock changed by more, ages are unknown


@dataclass(slots=True)
class _Files:
    """The files of one event."""

    start_s: float  # from its id
    paths: dict[str, int] = field(default_factory=dict)  # size in bytes of each
    newest_s: float = -math.inf  # modification time of the newest file

    @property
    def size(self) -> int:
        return sum(self.paths.values())


class Retention:
    """Removes event files from FOLDER/DAY/, or FOLDER/DAY/CAMERA/, and the folders that become empty; nothing else.

    days: maximum age by the event's time and by the modification time; None: unlimited. gigabytes: maximum total size
    after a sweep, not counting files of the last hour; None: unlimited.
    """

    def __init__(self, folder: Path, *, days: float | None, gigabytes: float | None, cameras: bool = False) -> None:
        """cameras: each day's folder has one folder per camera."""
        self.folder = folder
        self.days, self.gigabytes = days, gigabytes
        self._cameras = cameras
        self._last_sweep_s: float | None = None  # monotonic
        self._clock_offset_s: float | None = None  # time of day minus monotonic time

    def sweep_if_due(self) -> None:
        """Sweep unless the last sweep was less than ten minutes ago.

        Ages count from the second sweep on, and only if the clock was not set in between: it may be wrong after boot.
        """
        now_s = time.monotonic()
        if self._last_sweep_s is None or now_s - self._last_sweep_s >= SWEEP_S:
            offset_s = time.time() - now_s
            is_steady = self._clock_offset_s is not None and abs(offset_s - self._clock_offset_s) < _STEADY_LIMIT_S
            self._last_sweep_s, self._clock_offset_s = now_s, offset_s
            self.sweep(time.time(), by_age=is_steady)

    def sweep(self, now_s: float, *, by_age: bool = True) -> int:
        """Remove files beyond the limits at this time of day; return the number of removed events. by_age: use ages."""
        if self.days is None and self.gigabytes is None:
            return 0
        problems: list[str] = []
        events = self._find_events(problems)
        total, removed = sum(files.size for files in events), 0
        for files in sorted(events, key=lambda each: each.newest_s):
            is_dated = by_age and files.newest_s > _EPOCH_S
            age_s = now_s - max(files.newest_s, files.start_s)
            is_old = is_dated and self.days is not None and age_s > self.days * _DAY_S
            is_over_limit = self.gigabytes is not None and total > self.gigabytes * _GB
            if not is_old and not (is_over_limit and abs(now_s - files.newest_s) > _MIN_AGE_S):
                continue
            freed = self._remove(files, problems)
            total -= freed
            removed += freed == files.size
        if problems:
            log.warning("%s: old files were not removed: %s", self.folder, "; ".join(problems[:3]))
        if removed:
            log.info("%s: removed files of %d old %s", self.folder, removed, "event" if removed == 1 else "events")
        return removed

    def _find_events(self, problems: list[str]) -> list[_Files]:
        events: dict[str, _Files] = {}
        for day in _entries(self.folder, problems):
            if not (_DAY.fullmatch(day.name) and day.is_dir(follow_symlinks=False)):
                continue
            folders = [day]
            if self._cameras:
                folders = [entry for entry in _entries(Path(day.path), problems) if entry.is_dir(follow_symlinks=False)]
            for folder in folders:
                for entry in _entries(Path(folder.path), problems):
                    match = _EVENT_FILE.fullmatch(entry.name) or _UNFINISHED.fullmatch(entry.name)
                    if match is None or not match["id"].startswith(day.name.replace("-", "")):
                        continue
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError as error:  # may be removed by another program
                        if not isinstance(error, FileNotFoundError):
                            problems.append(_format_error(error, entry.path))
                        continue
                    files = events.setdefault(f"{folder.path} {match['id']}", _Files(_start_s(match["id"])))
                    files.paths[entry.path] = status.st_size
                    files.newest_s = max(files.newest_s, status.st_mtime)
        return list(events.values())

    def _remove(self, files: _Files, problems: list[str]) -> int:
        """Remove the files; return the freed bytes."""
        freed = 0
        for name, size in files.paths.items():
            path = Path(name)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                problems.append(_format_error(error, name))
                continue
            freed += size
            for folder in (path.parent, path.parent.parent) if self._cameras else (path.parent,):
                try:
                    folder.rmdir()
                except OSError:  # not empty
                    break
        return freed


def _entries(folder: Path, problems: list[str]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(_format_error(error, str(folder)))


def _format_error(error: OSError, path: str) -> str:
    return f"{path} ({error.strerror})"


def _start_s(event: str) -> float:
    """Return the start time of an event from its id."""
    try:
        return datetime.strptime(event.partition("-")[0], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC).timestamp()
    except ValueError:  # no such day
        return math.inf
