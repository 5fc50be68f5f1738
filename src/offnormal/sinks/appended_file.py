"""Append events to a file: one JSON object per line, or one CSV row."""

from __future__ import annotations

import csv
import io
import json
import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar

from offnormal.evaluation.scores_csv import quote_formula
from offnormal.events.event import event_to_json
from offnormal.files import explain_write_errors, is_written_through, write_through
from offnormal.sinks.base import DeliveryError, Message, Sink, SinkOptions

COLUMNS = (
"id", "transition", "camera", "kind", "start", "end", "duration_s", "severity", "peak_score", "threshold",
    "p_value", "peak", "position_s", "continues", "detail", "snapshot", "heat_map", "clip", "problems",
    "bundle", "calibration", "software",
)  # fmt: skip
_TAIL_BYTES = 1 << 20  # bytes at the end of the file that are searched for messages written before


class AppendedFileOptions(SinkOptions):
    """Options of a file that events are appended to."""

    path: Path
    """File to append to."""


class _AppendingSink(Sink):
    """Appends each message and flushes it to disk.

    Removes a partial line that a killed program left, and writes no message twice.
    """

    Options = AppendedFileOptions
    target_option = "path"
    kind: ClassVar[str]
    path: Path

    def __init__(self, options: AppendedFileOptions) -> None:
        super().__init__(options)
        self.path = options.path
        self._written_ids: set[str] | None = None  # at the end of the file; None: not read yet
        self._has_header = False  # of a pipe or device

    @property
    def description(self) -> str:
        """Kind and path."""
        return f"{self.kind} {self.path}"

    def deliver(self, message: Message) -> None:
        """Append the message; OffnormalError if the disk is full, DeliveryError if the file has other content.

        A pipe, a device, or stdout gets it, too, but cannot be searched for messages written before.
        """
        with explain_write_errors(self.path):
            if is_written_through(self.path):
                content = self._content(message, self._first_line if self._has_header else "")
                write_through(self.path, io.BytesIO(content.encode()), waits=False)
                self._has_header = True
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                file.seek(0)
                first = file.readline(_TAIL_BYTES)
                is_cut = not first.endswith(b"\n") and len(first) < _TAIL_BYTES and self._is_unfinished_start(first)
                content = self._content(message, "" if is_cut else first.decode(errors="replace").strip())
                if self._written_ids is None or is_cut:
                    self._written_ids = self._ids(self._complete_lines(file, is_cut=is_cut))
                if message.id in self._written_ids:
                    return
                _append_atomically(file, content.encode())
        self._written_ids = {message.id}  # only the newest can be sent again, right after a restart

    def _complete_lines(self, file: BinaryIO, *, is_cut: bool) -> bytes:
        """Remove a line that a killed program left unfinished; complete one of others. Return the last lines.

        is_cut: the file is the unfinished start of a file of this sink.
        """
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
        complete = tail[: tail.rfind(b"\n") + 1]
        last = tail[len(complete) :]
        if is_cut or (last and len(last) < _TAIL_BYTES and self._is_unfinished(last)):
            os.truncate(file.fileno(), size - len(last))
        elif last:
            _append_atomically(file, b"\n")
        return complete

    _first_line: ClassVar[str]  # of a file of this sink, as far as it is always the same

    @abstractmethod
    def _content(self, message: Message, first_line: str) -> str:
        """The text to append to a file with this first line ("": empty); DeliveryError if it has other content."""

    @abstractmethod
    def _is_unfinished_start(self, line: bytes) -> bool:
        """Whether a first line without its end is the start of a file of this sink."""

    @abstractmethod
    def _is_unfinished(self, line: bytes) -> bool:
        """Whether a last line without its end is the start of a message of this sink."""

    @abstractmethod
    def _ids(self, tail: bytes) -> set[str]:
        """Ids of the messages in these last lines of the file."""


class JsonlSink(_AppendingSink):
    """Appends `Message.to_json` as one line."""

    kind = "jsonl"
    _first_line = '{"id": "'

    def _content(self, message: Message, first_line: str) -> str:
        if "\0" in first_line or "\ufffd" in first_line:
            raise DeliveryError(f"{self.path} is not a text file: move it away or choose another path")
        text = json.dumps(message.to_json(), ensure_ascii=False)
        return text.encode("utf-8", "backslashreplace").decode() + "\n"

    def _is_unfinished(self, line: bytes) -> bool:
        start = self._first_line.encode()
        try:
            json.loads(line)
        except (ValueError, RecursionError):
            return line.startswith(start) or start.startswith(line)
        return False

    _is_unfinished_start = _is_unfinished

    def _ids(self, tail: bytes) -> set[str]:
        ids = set()
        for line in tail.splitlines():
            try:
                ids.add(str(json.loads(line)["id"]))
            except (ValueError, KeyError, TypeError, RecursionError):  # a cut first line, or no message
                continue
        return ids


class CsvSink(_AppendingSink):
    """Appends a row of COLUMNS; a new file starts with the header."""

    kind = "csv"
    _first_line = ",".join(COLUMNS)

    def _content(self, message: Message, first_line: str) -> str:
        header = first_line
        if header and header != self._first_line:
            raise DeliveryError(
                f"{self.path} has other columns ({header[:60]}...): move the file away or choose another path"
            )
        values = {
            **event_to_json(message.event),
            "transition": message.transition,
            "problems": "; ".join(message.event.problems),
        }
        row = _line(["" if values[name] is None else values[name] for name in COLUMNS])
        return row if header else _line(COLUMNS) + row

    def _is_unfinished(self, line: bytes) -> bool:
        return line[:1].isdigit() and line.count(b",") < len(COLUMNS)  # ids begin with the date

    def _is_unfinished_start(self, line: bytes) -> bool:
        return self._first_line.encode().startswith(line)

    def _ids(self, tail: bytes) -> set[str]:
        ids = set()
        for line in tail.decode(errors="replace").splitlines():
            fields = line.split(",", 2)  # neither has quotes
            if len(fields) > 2:
                ids.add(f"{fields[0]}-{fields[1]}")
        return ids


def _line(values: Sequence[object]) -> str:
    """A CSV line; text that a spreadsheet would run as a formula gets an apostrophe, line breaks become spaces."""
    one_line = [" ".join(value.split("\n")) if isinstance(value, str) else value for value in values]
    safe = [quote_formula(value) if isinstance(value, str) else value for value in one_line]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(safe)
    return out.getvalue()


def _append_atomically(file: BinaryIO, content: bytes) -> None:
    """Append to a file opened with "ab+" and flush it to disk; on an error, restore the file."""
    before = file.seek(0, os.SEEK_END)
    try:
        remaining = memoryview(content)
        while remaining:  # file.write would buffer what a full disk rejected, and write it on close
            remaining = remaining[os.write(file.fileno(), remaining) :]
        os.fsync(file.fileno())
    except OSError:
        os.truncate(file.fileno(), before)
        raise
