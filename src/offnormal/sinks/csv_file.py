"""Events appended to a table, one row each, for a spreadsheet."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from offnormal.events.event import event_to_json
from offnormal.files import explained
from offnormal.sinks.base import DeliveryError, Message, Sink, SinkOptions
from offnormal.sinks.jsonl import append_whole, cut_torn_line

COLUMNS = (
    "id", "what", "camera", "kind", "start", "end", "duration_s", "severity", "peak_score", "threshold",
    "p_value", "peak", "position_s", "continues", "detail", "snapshot", "heat_map", "clip", "problems",
    "bundle", "calibration", "software",
)  # fmt: skip


class CsvOptions(SinkOptions):
    """What can be chosen of a CSV file."""

    path: Path
    """File to append to."""


class CsvSink(Sink):
    """Appends a row of COLUMNS and flushes it to the disk; the header comes first in a new file.

    A row that a killed program left half-written is removed; a message that stands there already is not written again.
    """

    Options = CsvOptions
    target_option = "path"

    def __init__(self, options: CsvOptions) -> None:
        super().__init__(options)
        self.path = options.path
        self._known: set[tuple[str, str]] | None = None

    @property
    def shown(self) -> str:
        """The file."""
        return f"csv {self.path}"

    def deliver(self, message: Message) -> None:
        """Append the message; OffnormalError when the disk is full, DeliveryError for a table of other columns."""
        with explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                tail = cut_torn_line(file) if self._known is None else b""
                file.seek(0)
                header = file.readline().decode(errors="replace").strip()
                if header and header != ",".join(COLUMNS):
                    raise DeliveryError(f"{self.path} has other columns ({header[:60]}...): move it away")
                if self._known is None:
                    rows = csv.reader(tail.decode(errors="replace").splitlines())
                    self._known = {(row[0], row[1]) for row in rows if len(row) > 1}
                if (message.event.id, message.what) in self._known:
                    return
                append_whole(file, ("" if header else _line(list(COLUMNS))).encode() + _line(_row(message)).encode())
        self._known = {(message.event.id, message.what)}


def _row(message: Message) -> list[object]:
    values = {**event_to_json(message.event), "what": message.what, "problems": "; ".join(message.event.problems)}
    return ["" if values[name] is None else values[name] for name in COLUMNS]


def _line(values: list[object]) -> str:
    """A CSV line; text that a spreadsheet would take for a formula is quoted by an apostrophe, line breaks go."""
    plain = [" ".join(value.split("\n")) if isinstance(value, str) else value for value in values]
    safe = [f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value for value in plain]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(safe)
    return out.getvalue()
