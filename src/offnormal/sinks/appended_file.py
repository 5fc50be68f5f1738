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

from offnormal.events.event import event_to_json
from offnormal.files import explain_write_errors
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

    def __init__(self, options: AppendedFileOptions) -> None:
        super().__init__(options)
        self.path = options.path
        self._written_ids: set[str] | None = None  # at the end of the file; None: not read yet

    @property
    def description(self) -> str:
        """Kind and path."""
        return f"{self.kind} {self.path}"

    def deliver(self, message: Message) -> None:
        """Append the message; OffnormalError if the disk is full, DeliveryError if the CSV file has other columns."""
        with explain_write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                tail = _remove_partial_line(file) if self._written_ids is None else b""
                content = self._content(message, file)
                if self._written_ids is None:
                    self._written_ids = self._ids(tail)
                if message.id in self._written_ids:
                    return
                _append_atomically(file, content.encode())
        self._written_ids = {message.id}  # only the newest can be sent again, right after a restart

    @abstractmethod
    def _content(self, message: Message, file: BinaryIO) -> str:
        """The text to append."""

    @abstractmethod
    def _ids(self, tail: bytes) -> set[str]:
        """Ids of the messages in these last lines of the file."""


class JsonlSink(_AppendingSink):
    """Appends `Message.to_json` as one line."""

    kind = "jsonl"

    def _content(self, message: Message, file: BinaryIO) -> str:
        return json.dumps(message.to_json(), ensure_ascii=False) + "\n"

    def _ids(self, tail: bytes) -> set[str]:
        ids = set()
        for line in tail.splitlines():
            try:
                ids.add(str(json.loads(line)["id"]))
            except (ValueError, KeyError, TypeError):  # the first line may be cut; others may not be messages
                continue
        return ids


class CsvSink(_AppendingSink):
    """Appends a row of COLUMNS; a new file starts with the header."""

    kind = "csv"

    def _content(self, message: Message, file: BinaryIO) -> str:
        file.seek(0)
        header = file.readline().decode(errors="replace").strip()
        if header and header != ",".join(COLUMNS):
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

    def _ids(self, tail: bytes) -> set[str]:
        rows = csv.reader(tail.decode(errors="replace").splitlines())
        return {f"{row[0]}-{row[1]}" for row in rows if len(row) > 1}


def _line(values: Sequence[object]) -> str:
    """A CSV line; text that a spreadsheet would run as a formula gets an apostrophe, line breaks become spaces."""
    one_line = [" ".join(value.split("\n")) if isinstance(value, str) else value for value in values]
    safe = [
        f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value for value in one_line
    ]
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


def _remove_partial_line(file: BinaryIO) -> bytes:
    """Remove an unfinished last line from a file opened with "ab+"; return the last bytes that remain."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read()
    complete = tail[: tail.rfind(b"\n") + 1]
    if len(complete) < len(tail):
        os.truncate(file.fileno(), size - len(tail) + len(complete))
    return complete
