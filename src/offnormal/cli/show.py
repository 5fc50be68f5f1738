"""What verbs share on a terminal: a progress bar on stderr, results on stdout, JSON for machines."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from offnormal.data.dataset import Skipped
    from offnormal.verbs.loading import Progress as Tell


@contextlib.contextmanager
def progress_bar() -> Iterator[Tell | None]:
    """A callback (what, done, total, note) that draws a bar with the time left; None when stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int, note: str = "", /) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total, note=note)
            bar.update(tasks[what], completed=done, total=total, note=note)

        yield show


def program() -> str:
    """How to call this program again: by its name where a shell finds it, else by the path it was called with."""
    called = sys.argv[0]
    if Path(called).stem == "__main__":
        return f"{Path(sys.executable).name} -m offnormal"
    if Path(called).stem != "offnormal" or shutil.which("offnormal"):
        return "offnormal"
    return called if os.path.relpath(called).startswith("..") else os.path.relpath(called)


def say(text: str = "") -> None:
    """One line of results on stdout, at once."""
    print(text, flush=True)


def say_json(values: object) -> None:
    """One line of JSON on stdout, at once."""
    print(json.dumps(values, ensure_ascii=False, default=str), flush=True)


def warn(text: str) -> None:
    """One line on stderr."""
    print(f"offnormal: {text}", file=sys.stderr, flush=True)


def warn_skipped(skipped: Sequence[Skipped], *, logged: bool = False) -> None:
    """Name the files that were left out on stderr: all of them, or the first ten where a log names the others."""
    shown = 10 if logged else len(skipped)
    for bad in skipped[:shown]:
        warn(f"left out {bad.reason}")
    if len(skipped) > shown:
        warn(f"left out {len(skipped) - shown} more; the log names them all")
