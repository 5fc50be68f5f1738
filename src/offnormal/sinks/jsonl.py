"""Events appended to a file, one JSON object a line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

from offnormal.files import explained
from offnormal.sinks.base import Message, Sink, SinkOptions

_TAIL = 1 << 20  # bytes at the end of the file that are looked through for what was written before


class JsonlOptions(SinkOptions):
    """What can be chosen of a JSON Lines file."""

    path: Path
    """File to append to."""


class JsonlSink(Sink):
    """Appends `Message.to_json` lines and flushes each to the disk.

    A line that a killed program left half-written is removed; a message that stands there already is not written again.
    """

    Options = JsonlOptions
    target_option = "path"

    def __init__(self, options: JsonlOptions) -> None:
        super().__init__(options)
        self.path = options.path
        self._known: set[str] | None = None  # ids at the end of the file; None: not looked at yet

    @property
    def shown(self) -> str:
        """The file."""
        return f"jsonl {self.path}"

    def deliver(self, message: Message) -> None:
        """Append the message; OffnormalError when the disk is full."""
        with explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                if self._known is None:
                    self._known = _tail_ids(file)
                if message.id in self._known:
                    return
                append_whole(file, (json.dumps(message.to_json(), ensure_ascii=False) + "\n").encode())
        self._known = {message.id}  # only the newest can come again, right after a restart


def append_whole(file: BinaryIO, content: bytes) -> None:
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


def cut_torn_line(file: BinaryIO) -> bytes:
    """Remove a last line without its end from a file opened with "ab+"; the last bytes of what is left."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    tail = file.read()
    whole = tail[: tail.rfind(b"\n") + 1]
    if len(whole) < len(tail):
        os.truncate(file.fileno(), size - len(tail) + len(whole))
    return whole


def _tail_ids(file: BinaryIO) -> set[str]:
    found = set()
    for line in cut_torn_line(file).splitlines():
        try:
            found.add(str(json.loads(line)["id"]))
        except (ValueError, KeyError, TypeError):  # the first line may begin in the middle; others are not ours
            continue
    return found
