"""Finds video files that follow each other: consecutive files of one recorder are one stream of footage."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from offnormal.errors import VideoError
from offnormal.metrics.streams import Stream
from offnormal.sources.container import open_container
from offnormal.sources.paths import natural_key
from offnormal.types import Item

log = logging.getLogger(__name__)
_TOLERANCE_S = 5.0  # between the end of a file and the start of the next
_TIME = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)[-_ T.]{0,3}"  # date
    r"(\d\d)[-_.:h]?(\d\d)[-_.:m]?(\d\d)(?:[-_.]?\d{3})?(?!\d)"  # time, without milliseconds
)


def start_time(path: Path) -> datetime | None:
    """Return when a recording starts: the first time in its name, or the creation time in its container; None: unknown.

    >>> start_time(Path("cam1_20240101_120000.mp4"))
    datetime.datetime(2024, 1, 1, 12, 0, tzinfo=datetime.timezone.utc)
    """
    for match in _TIME.finditer(path.stem):
        try:
            return datetime.strptime("".join(match.groups()), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            continue
    return _creation_time(path) if path.is_file() else None


def find_streams(videos: Sequence[Item], seconds: Sequence[float | None], *, short_s: float = 0.0) -> list[Stream]:
    """Divide videos into streams, and log what was joined.

    Videos of one group are one stream. Others follow each other if they are in one folder, are named alike, and one
    starts within seconds of the end of the one before. What is then shorter than `short_s` is joined by folder, with
    gaps of unknown length. seconds: of footage; None: no clock, such a video is not joined.
    """
    paths = [video.path for video in videos]
    starts = [None if length is None else start_time(path) for path, length in zip(paths, seconds, strict=True)]
    start_s = [None if start is None else start.timestamp() for start in starts]
    by_name: dict[tuple[object, ...], list[int]] = defaultdict(list)
    by_group: dict[str, list[int]] = defaultdict(list)
    streams: list[Stream] = []
    for row, path in enumerate(paths):
        if seconds[row] is None:
            streams.append(Stream((row,), ()))
        elif (group := videos[row].group) is not None:
            by_group[group].append(row)
        else:
            by_name[path.parent, path.suffix, row if start_s[row] is None else _name_without_time(path)].append(row)

    def gap_s(row: int, later: int) -> float | None:
        start, end = start_s[later], start_s[row]
        gap = None if start is None or end is None else start - end - (seconds[row] or 0.0)
        overlap = min(_TOLERANCE_S, (seconds[row] or 0.0) / 2)
        return None if gap is None or gap < -overlap else max(0.0, gap)

    def stream(rows: Sequence[int]) -> Stream:
        return Stream(tuple(rows), tuple(gap_s(*pair) for pair in pairwise(rows)))

    def in_order(rows: Sequence[int]) -> list[int]:
        return sorted(rows, key=lambda row: (start_s[row] or 0.0, natural_key(paths[row])))

    streams += [stream(in_order(rows)) for rows in by_group.values()]
    short: dict[Path, list[int]] = defaultdict(list)
    for rows in by_name.values():
        chain: list[int] = []
        for following in [*in_order(rows), None]:
            gap = gap_s(chain[-1], following) if chain and following is not None else None
            if following is not None and (not chain or (gap is not None and gap <= _TOLERANCE_S)):
                chain.append(following)
                continue
            if sum(seconds[member] or 0.0 for member in chain) < short_s:
                short[paths[chain[0]].parent] += chain
            else:
                streams.append(stream(chain))
            chain = [] if following is None else [following]
    streams += [stream(in_order(rows)) for rows in short.values()]
    for joined in streams:
        if len(joined.rows) > 1:
            total = sum(seconds[row] or 0.0 for row in joined.rows)
            first, last = paths[joined.rows[0]], paths[joined.rows[-1]]
            log.warning(
                "%d files are joined to one stream of %.0f s: %s to %s", len(joined.rows), total, first, last.name
            )
    return sorted(streams, key=lambda each: min(each.rows))


def _name_without_time(path: Path) -> str:
    """Return the name with its times, or else its last number, replaced; it is the same for files of one recorder."""
    name, count = _TIME.subn("*", path.stem)
    return name if count else re.sub(r"\d+(?=\D*$)", "*", name)


def _creation_time(path: Path) -> datetime | None:
    try:
        container, stream = open_container(path)
    except VideoError:
        return None
    with container:
        text = stream.metadata.get("creation_time") or container.metadata.get("creation_time") or ""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
