"""One tracker that follows a run's log: a thread reads what is new in it and sends that on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from offnormal.run import Elsewhere, read_config
from offnormal.training.tracking.reading import Rewind, Summary, last_step, read_events, read_lines
from offnormal.training.tracking.tracker import About, Known, Point, Tracker
from offnormal.training.worker import Worker

_EVERY_S = 1.0  # between two looks at the log
_PATIENCE_S, _STALL_S = 20.0, 60.0  # at the end
_HURRY_S = 5.0  # at the end of a fit that failed or was interrupted


class Follower:
    """Sends the log to a tracker from where it was sent up to before; nothing is lost while the tracker is away.

    known: what `remember` was given last, maybe in an earlier process.
    """

    def __init__(
        self, name: str, made: type[Tracker], about: About, known: Known, remember: Callable[[Known], None]
    ) -> None:
        self.name = name
        self._made, self._about, self._remember = made, about, remember
        self._known = known
        self._tracker: Tracker | None = None
        self._pictures: dict[str, bytes] = {}
        self._ending: bool | None = None  # whether the fit has failed, once it has ended
        self._ended = False
        self._lock = threading.Lock()
        self._worker = Worker(self._turn, what=f"tracking with {name}", every_s=_EVERY_S)

    def show(self, pictures: dict[str, bytes]) -> None:
        """Send pictures (PNG), too."""
        with self._lock:
            self._pictures |= pictures

    def close(self, *, failed: bool, hurry: bool) -> Elsewhere:
        """Send what is left and end; what could not be sent is said. hurry: a fit was broken off."""
        self._ending = failed
        patience, stall = (_HURRY_S, _HURRY_S) if hurry else (_PATIENCE_S, _STALL_S)
        error = self._worker.close(patience_s=patience, stall_s=stall)
        return Elsewhere(self.name, self._known.place, None if error is None else f"{self._left()} ({error})")

    def _turn(self) -> None:
        if self._ended:
            return
        ending = self._ending  # before the log is read for the last time
        try:
            if self._tracker is None:
                self._open()
            while self._send():
                self._worker.moved()
            self._show()
            if ending is not None and self._tracker is not None:
                self._tracker.close(failed=ending)
                self._ended = True
        except BaseException:
            self._tracker = None  # opened anew at the next turn
            raise

    def _open(self) -> None:
        self._tracker = tracker = self._made(self._about, self._known.id)
        self._learn(id=tracker.ident, place=tracker.place)
        if not self._known.configured:
            tracker.configure(read_config(self._about.folder / "config.yaml"))
            self._learn(configured=True)

    def _learn(self, **values: object) -> None:
        self._known = self._known.model_copy(update=values)
        self._remember(self._known)

    def _send(self) -> bool:
        """Send a piece of the log; whether there was one."""
        assert self._tracker is not None
        log = self._log()
        if not log.is_file():
            return False
        lines, end = read_lines(log, self._known.sent)
        if end == self._known.sent:
            return False
        points: list[Point] = []
        for event in read_events(lines, self._known.step):
            if isinstance(event, Point):
                points.append(event)
                continue
            self._tracker.points(points)
            at, points = (points[-1].step if points else self._known.step), []
            if isinstance(event, Rewind):
                self._tracker.rewind(event.step)
            else:
                assert isinstance(event, Summary)
                self._tracker.summary(event.values, at)
        self._tracker.points(points)
        self._learn(sent=end, step=last_step(lines, self._known.step))
        return True

    def _show(self) -> None:
        assert self._tracker is not None
        with self._lock:
            pictures = dict(self._pictures)
        for name, png in pictures.items():
            self._tracker.picture(name, png, self._known.step)
            with self._lock:
                del self._pictures[name]

    def _left(self) -> str:
        log = self._log()
        with self._lock:
            pictures = len(self._pictures)
        whole = log.read_bytes() if log.is_file() else b""
        lines = whole[self._known.sent :].count(b"\n")
        found = [
            f"{number} {thing}" for number, thing in ((lines, "line(s) of the log"), (pictures, "picture(s)")) if number
        ]
        return f"not sent: {' and '.join(found)}" if found else "perhaps not all was sent"

    def _log(self) -> Path:
        return self._about.folder / "log.jsonl"
