"""A thread that repeats a task beside a training; its failures never stop the training."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from offnormal.backoff import Backoff
from offnormal.redact import redact

log = logging.getLogger(__name__)

_FIRST_S, _LONGEST_S = 0.5, 60.0  # delay after a failure; doubles each time
_WARN_AFTER = 2  # consecutive failures
_MAX_TEXT = 300  # characters of an error


class Worker:
    """Repeats `task` until closed, and once more after that; repeated failures are logged in one warning.

    name: names the thread and the warning. interval_s: seconds between two runs of the task.
    """

    def __init__(self, task: Callable[[], None], *, name: str, interval_s: float) -> None:
        self._task, self._name, self._interval_s = task, name, interval_s
        self.error: str | None = None  # of the last run
        self._has_warned = False
        self._closing = threading.Event()
        self._retry_until = 0.0
        self._progress_at = time.monotonic()
        # a daemon: a server that never answers must not keep the program from ending
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def note_progress(self) -> None:
        """Called by the task after each step, so that closing keeps waiting for it."""
        self._progress_at = time.monotonic()

    def close(self, *, patience_s: float, stall_s: float) -> str | None:
        """Run the task a last time; return the error if it failed.

        patience_s: how long failures are retried. stall_s: how long the task may make no progress.
        """
        self._retry_until = time.monotonic() + patience_s
        self._progress_at = time.monotonic()
        self._closing.set()
        while self._thread.is_alive() and time.monotonic() < max(self._retry_until, self._progress_at + stall_s):
            self._thread.join(0.1)
        if self._thread.is_alive():
            return self.error or f"no answer for {stall_s:g} s"
        return self.error

    def _run(self) -> None:
        backoff = Backoff(_FIRST_S, _LONGEST_S, jitter=0)  # there is only one client
        while True:
            closing = self._closing.is_set()  # read first, so that the task runs once after the close
            try:
                self._task()
            except Exception as error:  # noqa: BLE001 - whatever a server or its library raises
                delay = backoff.failed()
                self._record_failure(error, warn=not closing and backoff.failures >= _WARN_AFTER)
                if closing:
                    if time.monotonic() + delay > self._retry_until:
                        return
                    time.sleep(delay)
                elif self._closing.wait(delay):
                    backoff.succeeded()  # the last runs retry quickly again
                continue
            self.error = None
            backoff.succeeded()
            if closing:
                return
            self._closing.wait(self._interval_s)

    def _record_failure(self, error: Exception, *, warn: bool) -> None:
        message = " ".join(str(error).split())
        self.error = redact(f"{type(error).__name__}: {message}" if message else type(error).__name__)[:_MAX_TEXT]
        if warn and not self._has_warned:
            self._has_warned = True
            log.warning("%s failed (%s); the fit continues, and it is tried again", self._name, self.error)
