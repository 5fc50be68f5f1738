"""The thread that writes pictures and clips, and sees to it that old ones go."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from offnormal.sinks.retention import SWEEP_S, Retention

log = logging.getLogger(__name__)
_JOBS = 256  # that may wait to be written; beyond it pictures are left out, never events


class MediaWorker:
    """Writes pictures and clips of all cameras, one after the other, in a thread of its own."""

    def __init__(self, retention: Retention | None = None) -> None:
        self._retention = retention
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(_JOBS)
        self._thread = threading.Thread(target=self._run, name="media", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None]) -> bool:
        """Do something later; whether there was room."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return False
        return True

    def close(self, timeout_s: float) -> bool:
        """Do what waits and end; whether that came about in time."""
        try:
            self._jobs.put(None, timeout=timeout_s)
        except queue.Full:
            return False
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=SWEEP_S)
            except queue.Empty:
                job = _nothing
            if job is None:
                return
            try:
                job()
                if self._retention is not None and self._jobs.empty():  # nobody waits for a picture
                    self._retention.look()
            except Exception:  # the edge: one picture must not end the pictures of all others
                log.exception("a picture could not be written, or an old one not removed")


def _nothing() -> None:
    """What there is to do in quiet times."""
