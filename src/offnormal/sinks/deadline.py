"""A deadline for calls into libraries whose own timeouts restart with every byte that they receive."""

from __future__ import annotations

import threading
from collections.abc import Callable


class TimedCalls:
    """Runs one call at a time in a thread of its own, and waits for it until the deadline.

    A call that is late is never started again: the next call with the same key waits for it, and gets its result.

    >>> TimedCalls()(lambda: None, limit_s=5)
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._late_key = ""  # of the call whose result nobody got
        self._errors: list[Exception] = []

    def __call__(self, function: Callable[[], None], *, limit_s: float, key: str = "") -> None:
        """Call a function, and raise what it raises; TimeoutError at the deadline, or if another call still runs.

        key: what the function does; "": its result does not matter after the deadline.
        """
        if self._thread is None or not key or key != self._late_key:
            if self._thread is not None and self._thread.is_alive():
                raise TimeoutError("the last attempt still hangs")
            self._thread, self._errors = self._start(function)
        self._late_key = key
        self._thread.join(limit_s)
        if self._thread.is_alive():
            raise TimeoutError(f"no complete answer within {limit_s:g} s")
        self._late_key = ""
        if self._errors:
            raise self._errors[0]

    def _start(self, function: Callable[[], None]) -> tuple[threading.Thread, list[Exception]]:
        errors: list[Exception] = []

        def call() -> None:
            try:
                function()
            except Exception as error:  # noqa: BLE001 - raised again in the calling thread
                errors.append(error)

        thread = threading.Thread(target=call, name="delivery", daemon=True)
        thread.start()
        return thread, errors
