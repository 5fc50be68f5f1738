"""scores.csv: the file format of score tables, written by `evaluate` and `predict` and read by `compare`."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np

from offnormal.errors import DataError
from offnormal.evaluation.table import ItemRow, ScoreTable
from offnormal.files import new_file
from offnormal.types import ANOMALOUS, NORMAL, Unit

COLUMNS = (
    "item", "frame", "time_s", "label", "class", "group", "split", "score", "p_value", "verdict", "reason",
)  # fmt: skip
_TERM = "terms."  # prefix of the columns of terms
_WORDS = {"normal": float(NORMAL), "anomalous": float(ANOMALOUS), "": math.nan}
_ADVICE = "run offnormal evaluate again"
_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # a spreadsheet would run text that starts so; or our quote before it


def quote_formula(text: str) -> str:
    """Text for a CSV cell, with an apostrophe if a spreadsheet would run it as a formula.

    >>> quote_formula("=1+1"), quote_formula("a=1"), unquote_formula("'=1+1"), unquote_formula("it's")
    ("'=1+1", 'a=1', '=1+1', "it's")
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unquote_formula(text: str) -> str:
    """The text that `quote_formula` quoted."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text


def write_table(table: ScoreTable, path: Path) -> None:
    """Write COLUMNS and one column for each term; unknown values are empty."""
    with score_writer(path) as write:
        write(table)


@contextmanager
def score_writer(path: Path) -> Iterator[Callable[[ScoreTable], None]]:
    """Open a scores.csv for several tables; it gets its final name when all rows are written."""
    with new_file(path) as partial, partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        rows = csv.writer(file)
        terms: list[str] | None = None

        def write(table: ScoreTable) -> None:
            nonlocal terms
            if terms is None:
                terms = list(table.terms)
                rows.writerow([*COLUMNS, *(_TERM + name for name in terms)])
            rows.writerows(_cells(table))

        yield write
        if terms is None:
            rows.writerow(COLUMNS)


def _cells(table: ScoreTable) -> Iterator[list[str]]:
    """Rows as text, in the order of the columns; of thinned videos only scored rows."""
    reasons = {row: why for start, stop, why in table.reason for row in range(start, stop)}
    terms = list(table.terms.values())
    for item in table.items:
        for row in range(item.rows.start, item.rows.stop):
            if item.is_thinned and math.isnan(table.score[row]):
                continue
            yield [
                quote_formula(item.name),
                "" if table.frame[row] < 0 else str(table.frame[row]),
                _text(table.time_s[row], ".3f"),
                _word(table.label[row]),
                quote_formula(item.class_name),
                quote_formula(item.group),
                quote_formula(item.split),
                _text(table.score[row], ".9g"),  # exact for float32, because a threshold may equal a score
                _text(table.p_value[row], ".4g"),
                _word(table.verdict[row]),
                quote_formula(reasons.get(row, "")),
                *(_text(term[row], ".9g") for term in terms),
            ]


def read_table(file: Path, unit: Unit) -> ScoreTable:
    """Read a scores.csv.

    Raises DataError, with file and line, for missing columns, invalid cells, duplicate rows, rows apart from the others
    of their item, a truncated file, and a file without rows.
    """
    rows: list[tuple[int, float, float, float, float, float]] = []
    items: list[ItemRow] = []
    reasons: list[tuple[int, int, str]] = []
    first: dict[str, int] = {}
    start = 0
    for line, cells in _lines(file):
        name = unquote_formula(cells["item"])
        frame = _frame(file, line, cells["frame"]) if unit.is_per_frame else -1
        if not items or items[-1].name != name:
            if name in first:
                _fail(
                    file, line, f"item {name} is in several blocks, the first in line {first[name]}; expected one block"
                )
            first[name], start = line, len(rows)
            items.append(ItemRow(name=name, rows=slice(start, start)))
        elif not unit.is_per_frame or frame <= rows[-1][0]:
            _fail(file, line, f"{name}{f', frame {frame}' if frame >= 0 else ''}: duplicate or out of order")
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
            class_name=unquote_formula(cells["class"]),
            group=unquote_formula(cells["group"]),
            split=unquote_formula(cells["split"]),
        )
        if why := unquote_formula(cells["reason"]):
            reasons.append((len(rows) - 1, len(rows), why))
    if not rows:
        raise DataError(f"{file}: no rows below the header; {_ADVICE}")
    frames, times, labels, scores, p_values, verdicts = (np.array(column) for column in zip(*rows, strict=True))
    return ScoreTable(
        unit=unit,
        items=tuple(items),
        frame=frames.astype(np.int64),
        time_s=times,
        label=labels,
        score=scores.astype(np.float32).astype(np.float64),  # the exact values before the conversion to text
        p_value=p_values,
        verdict=verdicts,
        reason=tuple(reasons),
    )


def _text(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def _word(value: float) -> str:
    return "" if math.isnan(value) else "anomalous" if value == ANOMALOUS else "normal"


def _lines(file: Path) -> Iterable[tuple[int, dict[str, str]]]:
    """Yield line numbers and cells by column name."""
    with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            head = next(reader, [])
            missing = [name for name in COLUMNS if name not in head]
            if missing:
                _fail(
                    file,
                    1,
                    f"columns {', '.join(missing)} are missing; expected {', '.join(COLUMNS)}, separated by commas",
                )
            for row in reader:
                if not row:
                    continue
                if len(row) != len(head):
                    _fail(file, reader.line_num, f"{len(row)} cells, expected {len(head)} as in the header")
                if any("\udc80" <= letter <= "\udcff" for cell in row if not cell.isascii() for letter in cell):
                    _fail(file, reader.line_num, "not UTF-8 text; expected UTF-8")
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
        _fail(file, line, f"{column} {text!r}: expected a number such as 0.25, or an empty cell")
    return value


def _p_value(file: Path, line: int, text: str) -> float:
    value = _number(file, line, "p_value", text)
    if not math.isnan(value) and not 0 < value <= 1:
        _fail(file, line, f"p_value {text!r}: expected a number above 0 and at most 1")
    return value


def _label(file: Path, line: int, column: str, text: str) -> float:
    if text not in _WORDS:
        _fail(file, line, f"{column} {text!r}: expected normal, anomalous, or an empty cell")
    return _WORDS[text]


def _fail(file: Path, line: int, problem: str) -> NoReturn:
    raise DataError(f"{file}, line {line}: {problem}; correct the line, or {_ADVICE}")
