"""Events appended to a file: one JSON object a line, or one row of a table for a spreadsheet."""

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
    "id", "what", "camera", "kind", "start", "end", "duration_s", "severity", "peak_score", "threshold",
    "p_value", "peak", "position_s", "continues", "detail", "snapshot", "heat_map", "clip", "problems",
    "bundle", "calibration", "software",
)  # fmt: skip
_TAIL = 1 << 20  # bytes at the end of the file that are looked through for what was written before


class AppendedFileOptions(SinkOptions):
    """What can be chosen of a file that grows."""

    path: Path
    """File to append to."""


class _AppendingSink(Sink):
    """Appends each message and flushes it to the disk.

    A line that a killed program left half-written is removed; a message that is there already is not written again.
    """

    Options = AppendedFileOptions
    target_option = "path"
    kind: ClassVar[str]

    def __init__(self, options: AppendedFileOptions) -> None:
        super().__init__(options)
        self.path = options.path
        self._known: set[str] | None = None  # ids at the end of the file; None: not looked at yet

    @property
    def shown(self) -> str:
        """The file."""
        return f"{self.kind} {self.path}"

    def deliver(self, message: Message) -> None:
        """Append the message; OffnormalError when the disk is full, DeliveryError for a table of other columns."""
        with explain_write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                tail = _cut_torn_line(file) if self._known is None else b""
                content = self._content(message, file)
                if self._known is None:
                    self._known = self._ids(tail)
                if message.id in self._known:
                    return
                _append_whole(file, content.encode())
        self._known = {message.id}  # only the newest can come again, right after a restart

    @abstractmethod
    def _content(self, message: Message, file: BinaryIO) -> str:
        """What is appended."""

    @abstractmethod
    def _ids(self, tail: bytes) -> set[str]:
        """Ids of the messages in the last lines of the file."""


class JsonlSink(_AppendingSink):
    """Appends `Message.to_json` lines."""

    kind = "jsonl"

    def _content(self, message: Message, file: BinaryIO) -> str:
        return json.dumps(message.to_json(), ensure_ascii=False) + "\n"

    def _ids(self, tail: bytes) -> set[str]:
        found = set()
        for line in tail.splitlines():
            try:
                found.add(str(json.loads(line)["id"]))
            except (ValueError, KeyError, TypeError):  # the first line may begin in the middle; others are not ours
                continue
        return found


class CsvSink(_AppendingSink):
    """Appends a row of COLUMNS; the header comes first in a new file."""

    kind = "csv"

    def _content(self, message: Message, file: BinaryIO) -> str:
        file.seek(0)
        header = file.readline().decode(errors="replace").strip()
        if header and header != ",".join(COLUMNS):
            raise DeliveryError(f"{self.path} has other columns ({header[:60]}...): move it away")
        values = {**event_to_json(message.event), "what": message.what, "problems": "; ".join(message.event.problems)}
        row = _line(["" if values[name] is None else values[name] for name in COLUMNS])
        return row if header else _line(COLUMNS) + row

    def _ids(self, tail: bytes) -> set[str]:
        rows = csv.reader(tail.decode(errors="replace").splitlines())
        return {f"{row[0]}-{row[1]}" for row in rows if len(row) > 1}


def _line(values: Sequence[object]) -> str:
    """A CSV line; text that a spreadsheet would take for a formula is quoted by an apostrophe, line breaks go."""
    plain = [" ".join(value.split("\n")) if isinstance(value, str) else value for value in values]
    safe = [f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value for value in plain]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(safe)
    return out.getvalue()


def _append_whole(file: BinaryIO, content: bytes) -> None:
    """Append to a file opened with "ab+", whole and on the disk, or not at all."""
    before = file.seek(0, os.SEEK_END)
    try:
        left = memoryview(content)
        while left:  # not by the file, which would keep what a full disk refused, and write it when it is closed
            left = left[os.write(file.fileno(), left) :]
        os.fsync(file.fileno())
    except OSError:
        os.truncate(file.fileno(), before)
        raise


def _cut_torn_line(file: BinaryIO) -> bytes:
    """Remove a last line without its end from a file opened with "ab+"; the last bytes of what is left."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    tail = file.read()
    whole = tail[: tail.rfind(b"\n") + 1]
    if len(whole) < len(tail):
        os.truncate(file.fileno(), size - len(tail) + len(whole))
    return whole
