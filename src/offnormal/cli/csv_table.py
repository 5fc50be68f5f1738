"""The table that `predict --csv` writes, row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from offnormal.files import new_file


@contextmanager
def csv_table(path: Path | None, columns: Sequence[str]) -> Iterator[Any]:
    """The file, with its header, as something with `writerow`; it takes its name when all rows are in it.

    None where no file is wanted. Rows are not kept in memory.
    """
    if path is None:
        yield None
        return
    with new_file(path) as partial, partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file)
        table.writerow(columns)
        yield table
