"""The threads that write pictures and clips, and see to it that old ones go."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from offnormal.recording.retention import SWEEP_S, Retention

log = logging.getLogger(__name__)
_JOBS = 256  # that may wait to be written; beyond it pictures are left out, never events
_BYTES = 4e9  # of frames that may wait to become clips
_Job = Callable[[], None]


class MediaWorker:
    """Writes pictures and clips of all cameras, each kind one after the other in a thread of its own.

    People wait for pictures, which are quick; clips take longer, and old files are removed between them.
    """

    def __init__(self, retention: Retention | None = None) -> None:
        self._bytes = 0.0  # that wait to become clips
        self._lock = threading.Lock()
        self._pictures = _Worker("pictures", None)
        self._clips = _Worker("clips", retention)

    def submit(self, job: _Job) -> bool:
        """Write pictures later; whether there was room."""
        return self._pictures.submit(job)

    def submit_clip(self, job: _Job, size: int) -> bool:
        """Write a clip of frames of so many bytes later; whether there was room."""
        with self._lock:
            if self._bytes and self._bytes + size > _BYTES:
                return False
            self._bytes += size

        def counted() -> None:
            try:
                job()
            finally:
                self._freed(size)

        if self._clips.submit(counted):
            return True
        self._freed(size)
        return False

    def close(self, timeout_s: float) -> bool:
        """Do what waits and end; whether that came about in time."""
        end_s = time.monotonic() + timeout_s
        workers = (self._pictures, self._clips)
        for worker in workers:
            worker.end(end_s)
        return all(worker.joined(end_s) for worker in workers)

    def _freed(self, size: int) -> None:
        with self._lock:
            self._bytes -= size


class _Worker:
    """Does one job after the other in a thread of its own."""

    def __init__(self, name: str, retention: Retention | None) -> None:
        self._retention = retention
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_JOBS)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: _Job) -> bool:
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return False
        return True

    def end(self, end_s: float) -> None:
        try:
            self._jobs.put(None, timeout=max(0.0, end_s - time.monotonic()))
        except queue.Full:
            log.warning("%d %s are left unwritten", self._jobs.qsize(), self._thread.name)

    def joined(self, end_s: float) -> bool:
        self._thread.join(max(0.0, end_s - time.monotonic()))
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
                if self._retention is not None and self._jobs.empty():  # nobody waits for a clip
                    self._retention.look()
            except Exception:  # the edge: one picture must not end the pictures of all others
                log.exception("a picture could not be written, or an old one not removed")


def _nothing() -> None:
    """What there is to do in quiet times."""
