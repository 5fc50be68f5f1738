"""A deadline for calls into libraries whose own timeouts restart with every byte that they receive."""

from __future__ import annotations

import threading
from collections.abc import Callable


class TimedCalls:
    """Runs one call at a time in a thread of its own, and abandons it at the deadline.

    >>> TimedCalls()(lambda: None, limit_s=5)
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def __call__(self, function: Callable[[], None], *, limit_s: float) -> None:
        """Call a function, and raise what it raises; TimeoutError at the deadline, or while the last call runs."""
        if self._thread is not None and self._thread.is_alive():
            raise TimeoutError("the last attempt is still running")
        errors: list[Exception] = []

        def call() -> None:
            try:
                function()
            except Exception as error:  # noqa: BLE001 - raised again below
                errors.append(error)

        self._thread = threading.Thread(target=call, name="delivery", daemon=True)
        self._thread.start()
        self._thread.join(limit_s)
        if self._thread.is_alive():
            raise TimeoutError(f"no complete answer within {limit_s:g} s")
        if errors:
            raise errors[0]
