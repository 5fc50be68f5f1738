"""A deadline for calls into libraries whose own timeouts restart with every byte that they receive."""

from __future__ import annotations

import threading
from collections.abc import Callable


class TimedCalls:
    """Runs one call at a time in a thread of its own, and waits for it until the deadline.

    A call that takes longer is not started again: its result is that of a later call with the same key.

    >>> TimedCalls()("message 1", lambda: None, limit_s=5)
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._key: object = None
        self._errors: list[Exception] = []

    def __call__(self, key: object, function: Callable[[], None], *, limit_s: float) -> None:
        """Call a function, and raise what it raises; TimeoutError at the deadline, or while an earlier call hangs."""
        earlier = self._thread
        if earlier is not None and earlier.is_alive():
            raise TimeoutError("the last attempt still hangs")
        if earlier is None or self._key != key:
            self._key, self._errors = key, []
            self._thread = threading.Thread(target=self._call, args=(function,), name="delivery", daemon=True)
            self._thread.start()
            self._thread.join(limit_s)
            if self._thread.is_alive():
                raise TimeoutError(f"no complete answer within {limit_s:g} s")
        self._thread = None
        if self._errors:
            raise self._errors[0]

    def _call(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            self._errors.append(error)
