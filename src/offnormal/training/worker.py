"""A thread that does something again and again beside a training, which its failures never stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from offnormal.backoff import Backoff
from offnormal.redact import redact

log = logging.getLogger(__name__)

_FIRST_S, _LONGEST_S = 0.5, 60.0  # between a failure and the next try; doubled every time
_TELL_AFTER = 2  # failures in a row: one alone is a hiccup
_LONGEST = 300  # characters of an error


class Worker:
    """Does `turn` until it is closed, and once more then; after a failure later, told in one warning.

    what: is said in that warning. every_s: seconds between two turns.
    """

    def __init__(self, turn: Callable[[], None], *, what: str, every_s: float) -> None:
        self._turn, self._what, self._every_s = turn, what, every_s
        self.error: str | None = None  # of the last turn
        self._told = False
        self._closing = threading.Event()
        self._until = 0.0
        self._moved_at = time.monotonic()
        # a daemon: a server that never answers must not keep the program from ending
        self._thread = threading.Thread(target=self._run, name=what, daemon=True)
        self._thread.start()

    def moved(self) -> None:
        """Called by a turn that has got a step further, so that closing goes on waiting for it."""
        self._moved_at = time.monotonic()

    def close(self, *, patience_s: float, stall_s: float) -> str | None:
        """Have a last turn done; why it failed, if it did.

        patience_s: how long failures are tried again; stall_s: how long a turn may stand still.
        """
        self._until = time.monotonic() + patience_s
        self._moved_at = time.monotonic()
        self._closing.set()
        while self._thread.is_alive() and time.monotonic() < max(self._until, self._moved_at + stall_s):
            self._thread.join(0.1)
        if self._thread.is_alive():
            return self.error or f"no answer for {stall_s:g} s"
        return self.error

    def _run(self) -> None:
        backoff = Backoff(_FIRST_S, _LONGEST_S, jitter=0)  # alone with its server
        while True:
            closing = self._closing.is_set()  # before the turn, so that one follows the close
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - whatever a server or its library raises
                delay = backoff.failed()
                self._failed(error, told=closing or backoff.failures < _TELL_AFTER)
                if closing:
                    if time.monotonic() + delay > self._until:
                        return
                    time.sleep(delay)
                elif self._closing.wait(delay):
                    backoff.succeeded()  # the last turns come quickly again
                continue
            self.error = None
            backoff.succeeded()
            if closing:
                return
            self._closing.wait(self._every_s)

    def _failed(self, error: Exception, *, told: bool) -> None:
        said = " ".join(str(error).split())
        self.error = redact(f"{type(error).__name__}: {said}" if said else type(error).__name__)[:_LONGEST]
        if not (told or self._told):
            self._told = True
            log.warning("%s fails (%s): the fit goes on, and it is tried again", self._what, self.error)
