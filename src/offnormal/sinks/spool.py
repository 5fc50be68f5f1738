"""Undelivered messages on disk: SQLite in WAL mode, which survives a killed program and a power cut.

One row per message and sink, in order, from the moment the event is sent until the sink accepts it. The size is
bounded: when a sink has `limit` waiting messages, the oldest *opened* message is dropped, or the oldest if there is
none; `count_dropped` counts them. Messages that a sink refused for good stay for a person to inspect, up to the same
limit. Events are *held* while their images are being written, and are delivered even after a restart.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offnormal.errors import OffnormalError
from offnormal.events.event import event_from_json, event_to_json
from offnormal.files import set_aside
from offnormal.sinks.base import Message
from offnormal.types import Event

log = logging.getLogger(__name__)
LIMIT = 10_000  # messages per sink
_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, id TEXT NOT NULL, transition TEXT NOT NULL,
    message TEXT NOT NULL, folder TEXT, refused TEXT, UNIQUE (sink, id));
CREATE INDEX IF NOT EXISTS in_order ON waiting (sink, refused, seq);
CREATE TABLE IF NOT EXISTS held (id TEXT PRIMARY KEY, event TEXT NOT NULL, folder TEXT);
CREATE TABLE IF NOT EXISTS dropped (sink TEXT PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS damaged (content TEXT, reason TEXT NOT NULL);
PRAGMA user_version = 1;
"""
_COLUMNS = {  # of the rows that are copied from a damaged file
    "waiting": "seq, sink, id, transition, message, folder, refused",
    "held": "id, event, folder",
    "dropped": "sink, number",
}
_DAMAGED = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR_SHORT_READ)
_BROKEN = (*_DAMAGED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)  # opening may help
_UNREADABLE = (OffnormalError, LookupError, TypeError, ValueError, AttributeError, RecursionError)
_DELETE_OLDEST = (
    "DELETE FROM waiting WHERE seq = (SELECT seq FROM waiting WHERE sink = ? AND (refused IS NULL) = ? "
    "ORDER BY transition != 'opened', seq LIMIT 1)"
)


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message that a sink has not accepted yet."""

    seq: int
    message: Message


class Spool:
    """Stores messages on disk for several sinks and threads.

    A damaged file is renamed, and a new one gets the rows that can be read; so does a file that somebody deletes or
    damages while it is used. A damaged row is set aside in the file.

    Raises OffnormalError if the folder cannot be written; so does every method while the file cannot be used.
    """

    def __init__(self, path: Path, *, limit: int = LIMIT) -> None:
        self.path = path
        self.limit = limit
        self._lock = threading.Lock()
        self._has_warned = False  # about damaged rows
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._open()
        except (OSError, sqlite3.Error) as error:
            raise OffnormalError(f"{path}: cannot store undelivered events ({error}); choose another folder") from None

    def put(self, message: Message, sinks: Iterable[str]) -> None:
        """Store a message for these sinks and release its held event; when this returns, the message is safe.

        A message that is already stored keeps its position. Raises OffnormalError if the disk is full.
        """
        text, folder = json.dumps(message.to_json()), _text(message.folder)
        with self._transaction():
            for sink in sinks:
                if self._db.execute("SELECT 1 FROM waiting WHERE sink = ? AND id = ?", (sink, message.id)).fetchone():
                    continue
                self._make_room(sink, waiting=True)
                self._db.execute(
                    "INSERT INTO waiting (sink, id, transition, message, folder) VALUES (?, ?, ?, ?, ?)",
                    (sink, message.id, message.transition, text, folder),
                )
            if message.transition == "closed":
                self._db.execute("DELETE FROM held WHERE id = ?", (message.event.id,))

    def next(self, sink: str, *, after: int = 0) -> WaitingMessage | None:
        """The oldest waiting message of a sink after `after`; an unreadable one is marked as refused."""
        while True:
            with self._transaction():
                row = self._db.execute(
                    "SELECT seq, message, folder FROM waiting WHERE sink = ? AND refused IS NULL AND seq > ? "
                    "ORDER BY seq LIMIT 1",
                    (sink, after),
                ).fetchone()
            if row is None:
                return None
            try:
                return WaitingMessage(row[0], Message.from_json(_json(row[1]), _path(row[2])))
            except _UNREADABLE as error:
                self._warn(f"message {row[0]} for {sink}", error)
                self.mark_refused(row[0], sink, f"cannot be read: {_reason(error)}")

    def mark_delivered(self, seq: int) -> None:
        """Remove a delivered message."""
        with self._transaction():
            self._db.execute("DELETE FROM waiting WHERE seq = ?", (seq,))

    def mark_refused(self, seq: int, sink: str, why: str) -> None:
        """Keep a message that the sink will never accept, and do not send it again."""
        with self._transaction():
            self._make_room(sink, waiting=False)
            self._db.execute("UPDATE waiting SET refused = ? WHERE seq = ?", (why, seq))

    def hold(self, event: Event, folder: Path | None = None) -> None:
        """Store a closed event that is delivered later; OffnormalError if the disk is full."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO held (id, event, folder) VALUES (?, ?, ?)",
                (event.id, json.dumps(event_to_json(event)), _text(folder)),
            )

    def held_events(self) -> list[tuple[Event, Path | None]]:
        """Held events, oldest first; those that cannot be read are set aside."""
        with self._transaction():
            rows = self._db.execute("SELECT rowid, event, folder FROM held ORDER BY rowid").fetchall()
        events = []
        for number, text, folder in rows:
            try:
                events.append((event_from_json(_json(text)), _path(folder)))
            except _UNREADABLE as error:
                self._warn(f"a closed event (row {number})", error)
                with self._transaction():
                    self._db.execute("INSERT INTO damaged VALUES (?, ?)", (text, _reason(error)))
                    self._db.execute("DELETE FROM held WHERE rowid = ?", (number,))
        return events

    def count_waiting(self, sink: str, *, after: int = 0) -> int:
        """Number of messages after `after` that wait for a sink."""
        with self._transaction():
            rows = self._db.execute(
                "SELECT count(*) FROM waiting WHERE sink = ? AND refused IS NULL AND seq > ?", (sink, after)
            )
            return int(rows.fetchone()[0])

    def count_refused(self, sink: str) -> int:
        """Number of messages that a sink refused for good."""
        return self._query_number("SELECT count(*) FROM waiting WHERE sink = ? AND refused IS NOT NULL", sink)

    def count_dropped(self, sink: str) -> int:
        """Number of messages dropped for newer ones since the spool was created."""
        return self._query_number("SELECT coalesce(sum(number), 0) FROM dropped WHERE sink = ?", sink)

    def sinks(self) -> list[str]:
        """Every sink with stored messages, including sinks of an earlier configuration."""
        with self._transaction():
            rows = self._db.execute("SELECT DISTINCT sink FROM waiting ORDER BY sink").fetchall()
        return [row[0].decode(errors="replace") if isinstance(row[0], bytes) else str(row[0]) for row in rows]

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
            self._db.execute(_DELETE_OLDEST, (sink, waiting))
            self._db.execute(
                "INSERT INTO dropped VALUES (?, 1) ON CONFLICT (sink) DO UPDATE SET number = number + 1", (sink,)
            )

    def _query_number(self, query: str, sink: str) -> int:
        with self._transaction():
            return int(self._db.execute(query, (sink,)).fetchone()[0])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """One transaction, on disk when the block ends. After an error, the file is opened again for the next one."""
        with self._lock:
            try:
                if not self.path.exists():  # SQLite would continue to use the deleted file
                    self._replace_deleted()
                with self._db:
                    yield
            except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
                if not isinstance(error, OSError) and _code(error) & 0xFF in _BROKEN:
                    self._db.close()
                    with contextlib.suppress(
                        OSError, sqlite3.Error, UnicodeDecodeError
                    ):  # it is tried again with the next transaction
                        self._db = self._open()
                raise OffnormalError(
                    f"{self.path}: cannot be used ({error}); free some disk space or check the disk, or undelivered "
                    "events are lost when the program ends"
                ) from None

    def _replace_deleted(self) -> None:
        """Create the file again, with the rows of the deleted one, which exists as long as it is open."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        rows = _read_rows(self._db)
        self._db.close()  # deletes the -wal by its name, so first
        for ending in ("-wal", "-shm"):
            Path(f"{self.path}{ending}").unlink(missing_ok=True)
        self._db = self._connect()
        log.warning("%s was deleted and is created again, with %d rows", self.path, _write_rows(rows, self._db))

    def _warn(self, what: str, error: Exception) -> None:
        """Warn about the first damaged row."""
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "%s: %s cannot be read (%s) and is set aside in this file; more such rows are not reported",
                self.path, what, _reason(error),
            )  # fmt: skip

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the second: of a message that quotes the file
            code = _code(error)
            says_read_only = code == sqlite3.SQLITE_READONLY and os.access(self.path, os.W_OK)  # in its damaged header
            if not (says_read_only or {code, code & 0xFF}.intersection(_DAMAGED)):  # not writable, or the disk is full
                raise
            aside = set_aside(self.path)
            for ending in ("-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{ending}").replace(f"{aside}{ending}")
            db = self._connect()
            with contextlib.closing(sqlite3.connect(aside)) as source:
                source.text_factory = bytes
                rows = _write_rows(_read_rows(source), db)
            log.warning("%s was damaged (%s), is now %s; %d of its rows could be read", self.path, error, aside, rows)
            return db

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=10, check_same_thread=False)
        db.text_factory = bytes  # text may be damaged
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut, not only a kill
            db.executescript(_SCHEMA)
            for table, columns in _COLUMNS.items():
                db.execute(f"SELECT {columns} FROM {table} LIMIT 0")
            if db.execute("PRAGMA integrity_check").fetchone() != (b"ok",):
                raise sqlite3.DatabaseError("integrity_check reported errors")
        except (sqlite3.Error, UnicodeDecodeError):
            db.close()
            raise
        return db


def _code(error: Exception) -> int:
    """The number of an error of SQLite; a closed connection counts as damaged."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT))


def _read_rows(db: sqlite3.Connection) -> dict[str, list[list[object]]]:
    """Every row that can be read, from both ends of each table."""
    tables = {}
    for table, columns in _COLUMNS.items():
        rows: dict[int, list[object]] = {}
        for order in ("ASC", "DESC"):
            with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
                query = f"SELECT rowid, {columns} FROM {table} NOT INDEXED ORDER BY rowid {order}"
                for number, *values in db.execute(query):
                    rows[number] = [v.decode(errors="replace") if isinstance(v, bytes) else v for v in values]
        tables[table] = [rows[number] for number in sorted(rows)]
    return tables


def _write_rows(tables: dict[str, list[list[object]]], db: sqlite3.Connection) -> int:
    """Insert rows in one transaction; return the number of those that the tables accept."""
    count = 0
    with db:
        for table, rows in tables.items():
            columns = _COLUMNS[table]
            marks = ", ".join("?" * (columns.count(",") + 1))
            for row in rows:
                with contextlib.suppress(sqlite3.IntegrityError, sqlite3.DataError):  # a row that breaks a rule
                    count += db.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", row).rowcount
    return count


def _json(text: object) -> Any:
    """The values in a text cell; ValueError, TypeError, or RecursionError if it is damaged."""
    if not isinstance(text, bytes):
        raise TypeError(f"{type(text).__name__} instead of text")
    return json.loads(text.decode())


def _reason(error: Exception) -> str:
    """What an error says about damaged text, which may be no Unicode."""
    return (str(error)[:200] or type(error).__name__).encode("utf-8", "backslashreplace").decode()


def _text(folder: Path | None) -> str | None:
    return None if folder is None else str(folder)


def _path(folder: bytes | None) -> Path | None:
    return None if folder is None else Path(os.fsdecode(folder))
