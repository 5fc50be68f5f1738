"""The score table: one row for each image, frame, or clip, whatever the unit; scores.csv is its one form on disk."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from offnormal.errors import DataError
from offnormal.files import new_file
from offnormal.metrics.inputs import BoolArray
from offnormal.metrics.video import LOST, FrameScores
from offnormal.types import ANOMALOUS, NORMAL, Unit

Floats = NDArray[np.float64]

COLUMNS = (
    "item", "frame", "time_s", "label", "class", "group", "split", "score", "p_value", "verdict", "reason",
)  # fmt: skip
ASSUMED_FPS = 25.0  # of footage without a clock; reported wherever seconds are derived from it
TERM = "terms."  # prefix of the columns of terms
TESTED = ("", "test", "anomalous")  # splits that metrics rest on
_WORDS = {"normal": float(NORMAL), "anomalous": float(ANOMALOUS), "": math.nan}
_AGAIN = "run offnormal evaluate again"


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRow:
    """What the table says about an item once, for all of its rows."""

    name: str  # unique in the table
    rows: slice
    class_name: str = ""  # type of anomaly or class of activity; "" unknown
    group: str = ""  # session, lot, original; "" none
    split: str = ""  # of datasets that are divided; see `TESTED`
    restarts: tuple[int, ...] = ()  # frames with which a video's clock starts again
    fps: float | None = None  # frames per second as the source states them: how long a single frame lasts
    is_thinned: bool = False  # whether frames were left out on purpose, so that each score holds until the next


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreTable:
    """Scores of items as columns (R,), the rows of an item side by side in the order of its frames."""

    unit: Unit
    items: tuple[ItemRow, ...]
    frame: NDArray[np.int64]  # (R,) position in the video; -1 where the unit is not the frame
    time_s: Floats  # (R,) seconds; NaN: no clock
    label: Floats  # (R,) 0 normal, 1 anomalous, NaN unknown
    score: Floats  # (R,) higher = more anomalous; NaN: not scored
    p_value: Floats  # (R,) NaN: not calibrated, or not scored
    verdict: Floats  # (R,) 0 normal, 1 anomalous, NaN undecided
    reason: tuple[tuple[int, int, str], ...] = ()  # rows start <= row < stop that were not scored, and why
    terms: Mapping[str, Floats] = field(default_factory=dict)  # (R,) each, NaN where there is none

    def __len__(self) -> int:
        return self.score.size

    @property
    def has_clock(self) -> bool:
        """Whether any row has a time."""
        return bool(np.isfinite(self.time_s).any())

    @property
    def scored(self) -> BoolArray:
        """Rows (R,) with a score."""
        return np.asarray(~np.isnan(self.score))

    @property
    def tested(self) -> BoolArray:
        """Rows (R,) of items that the detector neither learned from nor was calibrated on."""
        return self.of_item([item.split in TESTED for item in self.items])

    @property
    def labeled(self) -> BoolArray:
        """Rows (R,) that metrics rest on: tested, with a score and a label."""
        return np.asarray(self.scored & self.tested & np.isfinite(self.label))

    def of_item(self, values: Sequence[bool]) -> BoolArray:
        """A flag for each item -> one for each of its rows."""
        return np.repeat(np.asarray(values, np.bool_), [item.rows.stop - item.rows.start for item in self.items])

    def item_column(self, value: Callable[[ItemRow], str]) -> list[str]:
        """A word for each row, from its item."""
        return [text for item in self.items for text in [value(item)] * (item.rows.stop - item.rows.start)]

    @property
    def lost(self) -> set[int]:
        """Rows of frames that could not be decoded."""
        return {row for start, stop, why in self.reason if why == LOST for row in range(start, stop)}

    def series(self, *, fps: float | None = None) -> list[FrameScores]:
        """Each video's frames as a series; fps: assumed where neither times nor the source tell, None: no clock."""
        lost = self.lost
        return [
            FrameScores(
                item.name,
                self.score[item.rows],
                labels if np.isfinite(labels := self.label[item.rows]).all() else None,
                None if np.isnan(times := self.time_s[item.rows]).all() else times,
                fps=item.fps or fps,
                restarts=item.restarts,
                is_thinned=item.is_thinned,
                lost=[row - item.rows.start for row in range(item.rows.start, item.rows.stop) if row in lost],
            )
            for item in self.items
        ]

    def write(self, path: Path) -> None:
        """Write scores.csv: COLUMNS, then one column for each term, empty where there is nothing to say."""
        with score_writer(path) as write:
            write(self)

    def cells(self) -> Iterator[list[str]]:
        """The rows as text, in the order of the columns; of a thinned video those that were looked at."""
        reasons = {row: why for start, stop, why in self.reason for row in range(start, stop)}
        terms = list(self.terms.values())
        for item in self.items:
            for row in range(item.rows.start, item.rows.stop):
                if item.is_thinned and math.isnan(self.score[row]):
                    continue
                yield [
                    item.name,
                    "" if self.frame[row] < 0 else str(self.frame[row]),
                    _text(self.time_s[row], ".3f"),
                    _word(self.label[row]),
                    item.class_name,
                    item.group,
                    item.split,
                    _text(self.score[row], ".9g"),  # exact for float32: a threshold is the score of one of them
                    _text(self.p_value[row], ".4g"),
                    _word(self.verdict[row]),
                    reasons.get(row, ""),
                    *(_text(term[row], ".9g") for term in terms),
                ]


@contextmanager
def score_writer(path: Path) -> Iterator[Callable[[ScoreTable], None]]:
    """A scores.csv to which tables are written one after the other; it takes its name when all rows are in it."""
    with new_file(path) as partial, partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        rows = csv.writer(file)
        terms: list[str] | None = None

        def write(table: ScoreTable) -> None:
            nonlocal terms
            if terms is None:
                terms = list(table.terms)
                rows.writerow([*COLUMNS, *(TERM + name for name in terms)])
            rows.writerows(table.cells())

        yield write
        if terms is None:
            rows.writerow(COLUMNS)


def join_tables(tables: Sequence[ScoreTable]) -> ScoreTable:
    """The rows of several tables one after the other; terms that only some of them have are NaN elsewhere.

    Raises DataError for tables of different units, or none.
    """
    units = {table.unit for table in tables}
    if len(units) != 1:
        raise DataError(f"{len(tables)} tables of {len(units)} units: expected one unit, such as frames")
    items, reasons, start = [], [], 0
    for table in tables:
        items += [replace(item, rows=slice(item.rows.start + start, item.rows.stop + start)) for item in table.items]
        reasons += [(first + start, stop + start, why) for first, stop, why in table.reason]
        start += len(table)
    names = dict.fromkeys(name for table in tables for name in table.terms)
    return ScoreTable(
        unit=units.pop(),
        items=tuple(items),
        frame=np.concatenate([table.frame for table in tables]),
        time_s=np.concatenate([table.time_s for table in tables]),
        label=np.concatenate([table.label for table in tables]),
        score=np.concatenate([table.score for table in tables]),
        p_value=np.concatenate([table.p_value for table in tables]),
        verdict=np.concatenate([table.verdict for table in tables]),
        reason=tuple(reasons),
        terms={
            name: np.concatenate([table.terms.get(name, np.full(len(table), np.nan)) for table in tables])
            for name in names
        },
    )


def read_table(file: Path, unit: Unit) -> ScoreTable:
    """Read a scores.csv.

    Raises DataError, with file and line, for missing columns, cells that are not what the column holds, rows that
    come twice or apart from the others of their item, a file that was cut short, or no rows at all.
    """
    rows: list[tuple[int, float, float, float, float, float]] = []
    items: list[ItemRow] = []
    reasons: list[tuple[int, int, str]] = []
    first: dict[str, int] = {}
    start = 0
    for line, cells in _lines(file):
        name = cells["item"]
        frame = _frame(file, line, cells["frame"]) if unit is Unit.FRAME else -1
        if not items or items[-1].name != name:
            if name in first:
                what = f"item {name} appears again; its first row is in line {first[name]}"
                _fail(file, line, what)
            first[name], start = line, len(rows)
            items.append(ItemRow(name=name, rows=slice(start, start)))
        elif unit is not Unit.FRAME or frame <= rows[-1][0]:
            _fail(file, line, f"{name}{f', frame {frame},' if frame >= 0 else ''} is there twice or out of order")
        rows.append(
            (
                frame,
                _number(file, line, "time_s", cells["time_s"]),
                _label(file, line, "label", cells["label"]),
                _number(file, line, "score", cells["score"]),
                _p_value(file, line, cells["p_value"]),
                _label(file, line, "verdict", cells["verdict"]),
            )
        )
        items[-1] = ItemRow(
            name=name,
            rows=slice(start, len(rows)),
            class_name=cells["class"],
            group=cells["group"],
            split=cells["split"],
        )
        if why := cells["reason"]:
            reasons.append((len(rows) - 1, len(rows), why))
    if not rows:
        raise DataError(f"{file}: has no rows below its header; {_AGAIN}")
    frames, times, labels, scores, p_values, verdicts = (np.array(column) for column in zip(*rows, strict=True))
    return ScoreTable(
        unit=unit,
        items=tuple(items),
        frame=frames.astype(np.int64),
        time_s=times,
        label=labels,
        score=scores.astype(np.float32).astype(np.float64),  # as they were before they became text
        p_value=p_values,
        verdict=verdicts,
        reason=tuple(reasons),
    )


def _text(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def _word(value: float) -> str:
    return "" if math.isnan(value) else "anomalous" if value == ANOMALOUS else "normal"


def _lines(file: Path) -> Iterable[tuple[int, dict[str, str]]]:
    """Line numbers and cells by column name."""
    with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as opened:
        reader = csv.reader(opened, strict=True)
        try:
            head = next(reader, [])
            missing = [name for name in COLUMNS if name not in head]
            if missing:
                _fail(file, 1, f"no column {', '.join(missing)}; expected {', '.join(COLUMNS)}, separated by commas")
            for row in reader:
                if not row:
                    continue
                if len(row) != len(head):
                    _fail(file, reader.line_num, f"{len(row)} cells, expected {len(head)} as in the header")
                if any("\udc80" <= letter <= "\udcff" for cell in row if not cell.isascii() for letter in cell):
                    _fail(file, reader.line_num, "not UTF-8 text")
                yield reader.line_num, dict(zip(head, row, strict=True))
        except csv.Error as error:
            _fail(file, reader.line_num, f"not CSV ({error})")


def _frame(file: Path, line: int, text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        _fail(file, line, f"frame {text!r}: expected a whole number, 0 or more")
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


def _p_value(file: Path, line: int, text: str) -> float:
    value = _number(file, line, "p_value", text)
    if not math.isnan(value) and not 0 < value <= 1:
        _fail(file, line, f"p_value {text!r}: expected above 0 and at most 1")
    return value


def _label(file: Path, line: int, column: str, text: str) -> float:
    if text not in _WORDS:
        _fail(file, line, f"{column} {text!r}: expected normal, anomalous, or nothing")
    return _WORDS[text]


def _fail(file: Path, line: int, what: str) -> NoReturn:
    raise DataError(f"{file}, line {line}: {what}; correct that line, or {_AGAIN}")
