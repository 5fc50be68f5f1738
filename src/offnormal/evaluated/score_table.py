"""scores.csv read again, of pictures, of videos or of clips; every error names the file and the line."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from offnormal.errors import DataError

Kind = Literal["images", "videos", "clips"]
Key = tuple[str, int]  # of a video the frame; of a picture or clip 0

_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "images": ("path", "label", "defect", "group", "score", "p_value"),
    "videos": ("video", "frame", "time_s", "label", "score", "p_value"),
    "clips": ("video", "class", "part", "label", "original", "score", "p_value"),
}
_AGAIN = "run offnormal evaluate again"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreTable:
    """The rows of a scores.csv as columns, R entries each; NaN where a cell is empty."""

    file: Path
    keys: list[Key]  # path of a picture or name of a video, and the frame
    scores: NDArray[np.float64]  # (R,) higher = more anomalous
    labels: NDArray[np.float64]  # (R,) 0 normal, 1 anomalous
    p_values: NDArray[np.float64]  # (R,) p-values
    times_s: NDArray[np.float64]  # (R,) of frames
    defects: list[str]  # of pictures; of clips their classes
    groups: list[str]  # of pictures; of clips their originals; "" where there is none
    parts: list[str]  # of clips; else ""
    lines: list[int]  # where each row stands in the file


def read_scores(file: Path, kind: Kind) -> ScoreTable:
    """Read the scores of an evaluation of pictures, of videos or of clips.

    Raises DataError, with file and line, for missing columns, cells that are not what the column holds, rows that
    come twice, a file cut short, times that run backwards, or no rows at all.
    """
    keys: list[Key] = []
    numbers: list[tuple[float, float, float, float]] = []
    words: list[tuple[str, str, str]] = []
    lines: list[int] = []
    first: dict[Key, int] = {}
    for line, row in _rows(file, _COLUMNS[kind]):
        if kind == "videos":
            key, time = (row["video"], _frame(file, line, row["frame"])), _number(file, line, "time_s", row["time_s"])
        else:
            key, time = (row["path" if kind == "images" else "video"], 0), math.nan
        if key in first:
            _fail(file, line, f"{_shown(key, kind)} is there twice, first in line {first[key]}")
        first[key] = line
        label = _number(file, line, "label", row["label"])
        if not math.isnan(label) and label not in (0, 1):
            _fail(file, line, f"label {row['label']!r}: expected 0 (normal), 1 (anomalous) or nothing")
        p_value = _number(file, line, "p_value", row["p_value"])
        if not math.isnan(p_value) and not 0 < p_value <= 1:
            _fail(file, line, f"p_value {row['p_value']!r}: expected above 0 and at most 1")
        keys.append(key)
        numbers.append((_number(file, line, "score", row["score"]), label, p_value, time))
        found = ("class", "original", "part") if kind == "clips" else ("defect", "group", "part")
        words.append((row.get(found[0], ""), row.get(found[1], ""), row.get(found[2], "") if kind == "clips" else ""))
        lines.append(line)
    if not keys:
        raise DataError(f"{file}: has no rows below its header; {_AGAIN}")
    scores, labels, p_values, times = np.array(numbers, dtype=np.float64).T.copy()
    table = ScoreTable(
        file=file,
        keys=keys,
        scores=scores,
        labels=labels,
        p_values=p_values,
        times_s=times,
        defects=[defect for defect, _, _ in words],
        groups=[group for _, group, _ in words],
        parts=[part for _, _, part in words],
        lines=lines,
    )
    _check_clock(table)
    return table


def _rows(file: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and cells by column name."""
    with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as opened:
        reader = csv.reader(opened, strict=True)
        try:
            head = next(reader, [])
            missing = [name for name in columns if name not in head]
            if missing:
                _fail(
                    file,
                    1,
                    f"no column {', '.join(missing)}; expected a header with {', '.join(columns)}, parted by commas",
                )
            for row in reader:
                if not row:
                    continue
                if len(row) != len(head):
                    _fail(file, reader.line_num, f"{len(row)} cells, expected {len(head)} as in the header")
                if any("\udc80" <= letter <= "\udcff" for cell in row if not cell.isascii() for letter in cell):
                    _fail(file, reader.line_num, "not a text in UTF-8")
                yield reader.line_num, dict(zip(head, row, strict=True))
        except csv.Error as error:
            _fail(file, reader.line_num, f"not CSV ({error})")


def _frame(file: Path, line: int, text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        _fail(file, line, f"frame {text!r}: expected a whole number from 0 on")
    return int(text)


def _number(file: Path, line: int, column: str, text: str) -> float:
    """A finite number; NaN for an empty cell."""
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        _fail(file, line, f"{column} {text!r}: expected a number such as 0.25, or nothing")
    return value


def _check_clock(table: ScoreTable) -> None:
    last: dict[str, tuple[int, float]] = {}
    for (video, frame), time, line in sorted(zip(table.keys, table.times_s.tolist(), table.lines, strict=True)):
        if math.isnan(time):
            continue
        before, earlier = last.get(video, (frame, time))
        if time < earlier:
            _fail(
                table.file, line, f"time_s {time:g} of frame {frame} of {video} is before frame {before} ({earlier:g})"
            )
        last[video] = (frame, time)


def _shown(key: Key, kind: Kind) -> str:
    return f"frame {key[1]} of {key[0]}" if kind == "videos" else key[0]


def _fail(file: Path, line: int, what: str) -> NoReturn:
    raise DataError(f"{file}, line {line}: {what}; mend that line, or {_AGAIN}")
