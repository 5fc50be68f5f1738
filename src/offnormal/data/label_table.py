"""Reads frame labels from .csv and .txt files that were written by hand or exported from a spreadsheet.

The first row decides between three formats:

- one 0 or 1 per frame, in rows or all in one row, with or without a header;
- the header `start,end`, then one row per anomalous span: frame numbers from 0, inclusive;
- the header `start_s,end_s`, then one row per anomalous span: seconds from the first frame, inclusive; a span shorter
  than a frame marks the frame that is on at its start.

Cells are separated by commas, semicolons, tabs, or spaces. A file with only a header has no anomalous frames.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from offnormal.errors import DataError, counted
from offnormal.metrics.clock import Clock
from offnormal.sources.video_index import count_frames, read_clock

_FORMS = (
    "expected one 0 or 1 per frame, or one row per anomalous span under the header start,end (frame numbers from 0, "
    "inclusive) or start_s,end_s (seconds)"
)
Row = tuple[int, list[str]]  # line number from 1 and cells


def read_label_table(path: Path, video: Path) -> np.ndarray:
    """Read the labels (T,) uint8 of one video; opens the video only to get T for spans.

    Raises DataError with the number of an invalid line.
    """
    rows = _rows(path)
    if not rows:
        raise DataError(f"{path}: empty; {_FORMS}")
    header = [cell.strip("\"'").casefold() for cell in rows[0][1]]
    if header == ["start", "end"]:
        return _from_frames(path, rows[1:], count_frames(video))
    if header == ["start_s", "end_s"]:
        clock = None if video.is_dir() else read_clock(video)
        if clock is None or not clock.has_clock:
            kind = "a folder of frames" if clock is None else "a raw stream"
            raise DataError(f"{path}: start_s,end_s needs a clock, and {video} is {kind} without one; use start,end")
        return _from_seconds(path, rows[1:], clock)
    if len(rows) > 1 and len(rows[0][1]) == 1 and _number(rows[0][1][0]) is None:
        rows = rows[1:]
    if len(rows) == 1:
        rows = [(rows[0][0], [cell]) for cell in rows[0][1]]
    return np.array([_label(path, row) for row in rows], dtype=np.uint8)


def _rows(path: Path) -> list[Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); save it as UTF-8") from None
    rows = ((i, re.split(r"\s*[,;\t]\s*|\s+", line.strip())) for i, line in enumerate(text.splitlines(), 1))
    return [(i, cells) for i, cells in rows if any(cells)]


def _label(path: Path, row: Row) -> int:
    line, cells = row
    value = _number(cells[0]) if len(cells) == 1 else None
    if value not in (0, 1):
        raise DataError(f"{path}, line {line}: {','.join(cells)!r}; {_FORMS}")
    return int(value)


def _from_frames(path: Path, rows: list[Row], frames: int) -> np.ndarray:
    labels = np.zeros(frames, dtype=np.uint8)
    for line, cells in rows:
        first, last = _pair(path, line, cells)
        if first != int(first) or last != int(last):
            raise DataError(f"{path}, line {line}: {','.join(cells)!r}; expected integers, or the header start_s,end_s")
        if last >= frames:
            raise DataError(
                f"{path}, line {line}: frames {first:g} to {last:g} (from 0), but the video has "
                f"{counted(frames, 'frame')}"
            )
        labels[int(first) : int(last) + 1] = 1
    return labels


def _from_seconds(path: Path, rows: list[Row], clock: Clock) -> np.ndarray:
    times, ends = clock.times_s, clock.ends_s
    labels = np.zeros(len(times), dtype=np.uint8)
    for line, cells in rows:
        first, last = _pair(path, line, cells)
        if first >= ends[-1]:
            raise DataError(f"{path}, line {line}: starts at {first:g} s, but the video ends at {ends[-1]:.3f} s")
        frames = (times >= first) & (times <= last)
        if not frames.any():  # shorter than a frame
            frames = (times <= first) & (first < ends)
        if not frames.any():
            after = int(np.searchsorted(times, first))
            raise DataError(
                f"{path}, line {line}: no frame from {first:g} to {last:g} s, because the clock of the video jumps "
                f"from {ends[after - 1]:.3f} to {times[after]:.3f} s; expected seconds by this clock, or use start,end"
            )
        labels[frames] = 1
    return labels


def _pair(path: Path, line: int, cells: list[str]) -> tuple[float, float]:
    values = [_number(cell) for cell in cells]
    first, last = values if len(values) == 2 else (None, None)
    if first is None or last is None or not 0 <= first <= last:
        raise DataError(
            f"{path}, line {line}: {','.join(cells)!r}; expected a start and an end, both 0 or above, in this order"
        )
    return first, last


def _number(cell: str) -> float | None:
    try:
        value = float(cell.strip("\"'"))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
