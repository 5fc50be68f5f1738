"""What is still to be delivered, on disk: SQLite in WAL mode, which a killed program or a power cut leaves whole.

One row a message and sink, in order, from the moment the event is sent until the sink has taken it. Bounded: when a
sink has `limit` messages waiting, the oldest that an event *opened* gives way to a new one, or where there is none the
oldest of all; `dropped` counts them. Messages that a sink refused for good stay for a person to look at, up to the same
limit. Events whose pictures are still being written are *held*: delivered after a restart, too.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from offnormal.errors import DataError, OffnormalError
from offnormal.events.event import event_from_json, event_to_json
from offnormal.sinks.base import Message
from offnormal.types import Event

log = logging.getLogger(__name__)
LIMIT = 10_000  # messages a sink
_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, id TEXT NOT NULL, what TEXT NOT NULL,
    message TEXT NOT NULL, folder TEXT, refused TEXT, UNIQUE (sink, id));
CREATE INDEX IF NOT EXISTS in_order ON waiting (sink, refused, seq);
CREATE TABLE IF NOT EXISTS held (id TEXT PRIMARY KEY, event TEXT NOT NULL, folder TEXT);
CREATE TABLE IF NOT EXISTS dropped (sink TEXT PRIMARY KEY, number INTEGER NOT NULL);
PRAGMA user_version = 1;
"""
_OPENED_FIRST = (
    "DELETE FROM waiting WHERE seq = (SELECT seq FROM waiting WHERE sink = ? AND (refused IS NULL) = ? "
    "ORDER BY what != 'opened', seq LIMIT 1)"
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that a sink is still to take."""

    seq: int
    message: Message


class Spool:
    """Messages on disk, for several sinks and threads; a damaged file is set aside and a new one begun.

    Raises OffnormalError where the folder cannot be written.
    """

    def __init__(self, path: Path, *, limit: int = LIMIT) -> None:
        self.path = path
        self.limit = limit
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._opened()
        except (OSError, sqlite3.Error) as error:
            raise OffnormalError(f"{path}: undelivered events cannot be kept there ({error}); choose another") from None

    def put(self, message: Message, sinks: Iterable[str]) -> None:
        """Keep a message for each of some sinks, and hold its event no longer; once it returns it is not lost.

        A message that is kept already stays where it is. Raises OffnormalError when the disk is full.
        """
        text, folder = json.dumps(message.to_json()), _text(message.folder)
        with self._changing():
            for sink in sinks:
                self._make_room(sink, waiting=True)
                self._db.execute(
                    "INSERT OR IGNORE INTO waiting (sink, id, what, message, folder) VALUES (?, ?, ?, ?, ?)",
                    (sink, message.id, message.what, text, folder),
                )
            if message.what == "closed":
                self._db.execute("DELETE FROM held WHERE id = ?", (message.event.id,))

    def next(self, sink: str, *, after: int = 0) -> Waiting | None:
        """The oldest message behind `after` that waits for a sink; what nobody can read any more is set aside."""
        while True:
            with self._lock:
                row = self._db.execute(
                    "SELECT seq, message, folder FROM waiting WHERE sink = ? AND refused IS NULL AND seq > ? "
                    "ORDER BY seq LIMIT 1",
                    (sink, after),
                ).fetchone()
            if row is None:
                return None
            try:
                return Waiting(row[0], Message.from_json(json.loads(row[1]), _path(row[2])))
            except (DataError, KeyError, TypeError, ValueError) as error:
                log.error("%s: message %d for %s cannot be read: %s", self.path, row[0], sink, error)
                self.refused(row[0], sink, f"cannot be read: {error}")

    def taken(self, seq: int) -> None:
        """A message was delivered."""
        with self._changing():
            self._db.execute("DELETE FROM waiting WHERE seq = ?", (seq,))

    def refused(self, seq: int, sink: str, why: str) -> None:
        """A message will never be taken: it stays, and is not tried again."""
        with self._changing():
            self._make_room(sink, waiting=False)
            self._db.execute("UPDATE waiting SET refused = ? WHERE seq = ?", (why, seq))

    def hold(self, event: Event, folder: Path | None = None) -> None:
        """Keep a closed event that is not to be delivered yet; OffnormalError when the disk is full."""
        with self._changing():
            self._db.execute(
                "INSERT OR REPLACE INTO held (id, event, folder) VALUES (?, ?, ?)",
                (event.id, json.dumps(event_to_json(event)), _text(folder)),
            )

    def held(self) -> list[tuple[Event, Path | None]]:
        """Events that are held, the oldest first."""
        with self._lock:
            rows = self._db.execute("SELECT event, folder FROM held ORDER BY rowid").fetchall()
        return [(event_from_json(json.loads(text)), _path(folder)) for text, folder in rows]

    def waiting(self, sink: str, *, after: int = 0) -> int:
        """How many messages behind `after` wait for a sink."""
        with self._lock:
            found = self._db.execute(
                "SELECT count(*) FROM waiting WHERE sink = ? AND refused IS NULL AND seq > ?", (sink, after)
            )
            return int(found.fetchone()[0])

    def refusals(self, sink: str) -> int:
        """How many messages a sink has refused for good."""
        return self._number("SELECT count(*) FROM waiting WHERE sink = ? AND refused IS NOT NULL", sink)

    def dropped(self, sink: str) -> int:
        """How many messages gave way to newer ones since the spool was begun."""
        return self._number("SELECT coalesce(sum(number), 0) FROM dropped WHERE sink = ?", sink)

    def sinks(self) -> list[str]:
        """Every sink that messages wait for, also of another configuration."""
        with self._lock:
            return [row[0] for row in self._db.execute("SELECT DISTINCT sink FROM waiting ORDER BY sink")]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _make_room(self, sink: str, *, waiting: bool) -> None:
        kind = "IS NULL" if waiting else "IS NOT NULL"
        (number,) = self._db.execute(
            f"SELECT count(*) FROM waiting WHERE sink = ? AND refused {kind}", (sink,)
        ).fetchone()
        if number >= self.limit:
            self._db.execute(_OPENED_FIRST, (sink, waiting))
            self._db.execute(
                "INSERT INTO dropped VALUES (?, 1) ON CONFLICT (sink) DO UPDATE SET number = number + 1", (sink,)
            )

    def _number(self, query: str, sink: str) -> int:
        with self._lock:
            return int(self._db.execute(query, (sink,)).fetchone()[0])

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """One transaction, on disk when it ends."""
        with self._lock:
            try:
                with self._db:
                    yield
            except sqlite3.Error as error:
                raise OffnormalError(
                    f"{self.path}: cannot be written ({error}); free some space, or undelivered events will be lost "
                    "when the program ends"
                ) from None

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._connected()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # a place that cannot be written, a full disk
                raise
            aside = self.path.with_suffix(".damaged")
            for ending in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{ending}").replace(f"{aside}{ending}")
            log.error("%s was damaged (%s) and is %s now: what it held is not delivered", self.path, error, aside)
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=10, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut, not only a kill
            db.executescript(_SCHEMA)
            if db.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("quick_check found faults")
        except sqlite3.Error:
            db.close()
            raise
        return db


def _text(folder: Path | None) -> str | None:
    return None if folder is None else str(folder)


def _path(folder: str | None) -> Path | None:
    return None if folder is None else Path(folder)
