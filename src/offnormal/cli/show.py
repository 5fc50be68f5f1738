"""Output of every verb: progress on stderr, results on stdout, JSON for machines."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from offnormal.errors import OffnormalError, UsageError
from offnormal.files import is_stdout

if TYPE_CHECKING:
    from offnormal.data.dataset import Skipped
    from offnormal.verbs.loading import Progress as Tell


WIDTH = 80  # columns of printed text
_LINE_EVERY_S = 30.0
_FLUSH_S = 0.3  # at the end of the program


class Verbatim(str):
    """A value that is never wrapped, such as a path or a command."""

    __slots__ = ()


class ProgressLines:
    """Progress for a log or a pipe: at most one line every 30 seconds, so that short commands print none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._printed_s = clock()
        self._starts: dict[str, tuple[float, int]] = {}  # when each task was first reported, and its steps by then

    def __call__(self, what: str, done: int, total: int, note: str = "", /) -> None:
        """Print a line if the last one is old enough."""
        now_s = self._clock()
        start_s, first = self._starts.setdefault(what, (now_s, done))
        if now_s - self._printed_s < _LINE_EVERY_S:
            return
        self._printed_s = now_s
        facts = [f"{what}: {done:,} of {total:,}"]
        if first < done < total:
            from offnormal.drawing.wording import duration

            facts.append(f"about {duration((now_s - start_s) / (done - first) * (total - done))} left")
        warn(", ".join([*facts, *filter(None, [" ".join(note.split())])]))


@contextlib.contextmanager
def progress_bar() -> Iterator[Tell]:
    """A callback (what, done, total, note) that shows progress on stderr: a bar with its ETA, or lines in a log."""
    if not sys.stderr.isatty():
        yield ProgressLines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("ETA"),
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
    """Return the command that starts this program: its name if the shell finds it, else its path."""
    called = sys.argv[0]
    if Path(called).stem == "__main__":
        return f"{Path(sys.executable).name} -m offnormal"
    if Path(called).stem != "offnormal" or shutil.which("offnormal"):
        return "offnormal"
    return called if os.path.relpath(called).startswith("..") else os.path.relpath(called)


def aligned(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of names and values: values start in one column and are wrapped at 80 columns.

    >>> aligned([("threshold", "4.2"), ("bundle", Verbatim("runs/a/bundle"))])
    ['threshold  4.2', 'bundle     runs/a/bundle']
    """
    rows = list(rows)
    indent = max((len(name) for name, _ in rows), default=0) + 2
    lines: list[str] = []
    for name, value in rows:
        first = name.ljust(indent)
        if isinstance(value, Verbatim):
            lines.append(first + value)
        else:
            lines += textwrap.wrap(
                value,
                WIDTH,
                initial_indent=first,
                subsequent_indent=" " * indent,
                break_long_words=False,
                break_on_hyphens=False,
            ) or [first.rstrip()]
    return lines


class _ResultLines:
    """Lines of results on stdout. A full disk cuts a line: the next attempt completes it, and prints nothing twice."""

    def __init__(self) -> None:
        self._text, self._rest = "", b""  # the line that was not printed completely, and what is missing

    def __call__(self, text: str = "") -> None:
        """Print one line, at once; OffnormalError if stdout cannot be written."""
        try:
            number = sys.stdout.fileno()
        except (OSError, ValueError):  # replaced by a program that calls us
            print(text, flush=True)
            return
        sys.stdout.flush()
        if not self._rest or text != self._text:
            self._rest += f"{text}{os.linesep}".encode(sys.stdout.encoding, "backslashreplace")
        self._text = text
        try:
            while self._rest:
                self._rest = self._rest[os.write(number, self._rest) :]
        except BrokenPipeError:
            self._rest = b""
            raise
        except OSError as error:
            raise OffnormalError(
                f"stdout: cannot be written ({error.strerror}); free some space, or redirect it"
            ) from None


say = _ResultLines()


def discard_output() -> None:
    """Send what is still buffered for stdout, and all that follows, to nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave(code: int, message: str = "") -> NoReturn:
    """End the program; wait neither for its threads nor, for longer than a moment, for readers of its output."""

    def flush() -> None:
        with contextlib.suppress(OSError, ValueError):
            if message:
                warn(message)
            sys.stdout.flush()
            sys.stderr.flush()

    last_words = threading.Thread(target=flush, daemon=True)
    last_words.start()
    last_words.join(_FLUSH_S)
    os._exit(code)


def say_json(values: object) -> None:
    """One line of JSON on stdout, at once."""
    say(json.dumps(values, ensure_ascii=False, default=str))


def printer(*outputs: Path | None, json: bool = False) -> Callable[[str], None]:
    """The function that prints a line for people: on stdout, or on stderr if one of the outputs is stdout.

    UsageError if JSON is also to be printed on stdout.
    """
    on_stdout = [output for output in outputs if is_stdout(output)]
    if on_stdout and json:
        raise UsageError(f"{on_stdout[0]} and --json both write to stdout; drop one, or name a file")
    return _say_on_stderr if on_stdout else say


def _say_on_stderr(text: str = "") -> None:
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """One line on stderr."""
    print(f"offnormal: {text}", file=sys.stderr, flush=True)


_OFTEN_MANY = ("mask", "hidden file", "unused image", "unused video")


def warn_skipped(skipped: Sequence[Skipped], *, logged: bool = False) -> None:
    """Print what was skipped on stderr: the first ten of each kind, and every unreadable file that no log lists."""
    by_kind: dict[str, list[str]] = {}
    for entry in skipped:
        by_kind.setdefault(entry.kind, []).append(entry.reason)
    for kind, reasons in by_kind.items():
        limit = 3 if kind in _OFTEN_MANY else len(reasons) if kind == "unreadable file" and not logged else 10
        for reason in reasons[:limit]:
            warn(f"skipped {reason}")
        if len(reasons) > limit:
            warn(f"skipped {len(reasons) - limit} more{'; the log lists them all' if logged else ''}")


def warn_counts(read: int, nouns: tuple[str, str], skipped: Sequence[Skipped]) -> None:
    """Print on stderr how many items were read, and how many were skipped for each reason."""
    from offnormal.data.unread import describe_counts

    warn(describe_counts(read, nouns, skipped))
