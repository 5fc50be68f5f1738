"""Logs an error once, and counts its repetitions: a camera without disk space or files fails with every frame."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable

from offnormal.errors import OffnormalError
from offnormal.redact import redact_webhooks

_EVERY_S = 600.0  # between two lines about the same error
_Key = tuple[str, str, type[Exception], int | None]


class RepeatedErrors:
    """Errors of several cameras or jobs; safe for several threads.

    An error is the same as another with the same subject, the same type, and the same number of the system. Its
    traceback is logged with the first one, unless the message says enough.
    """

    def __init__(self, log: logging.Logger, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._log, self._now_s = log, now_s
        self._lock = threading.Lock()
        self._lines: dict[_Key, tuple[float, int]] = {}  # time of the last line, errors since

    def report(self, subject: str, what: str, error: Exception) -> None:
        """Log an error, or count it."""
        key = (subject, what, type(error), getattr(error, "errno", None))
        now_s = self._now_s()
        with self._lock:
            is_new = key not in self._lines
            last_s, count = self._lines.get(key, (0.0, 0))
            is_due = is_new or now_s - last_s >= _EVERY_S
            self._lines[key] = (now_s, 0) if is_due else (last_s, count + 1)
        if is_due:
            more = f" ({count:,} more since the last line)" if count else ""
            needs_traceback = is_new and not isinstance(error, OffnormalError | OSError)
            lines = "\n" + "".join(traceback.format_exception(error)).rstrip() if needs_traceback else ""
            self._log.error("%s: %s: %s%s%s", subject, what, redact_webhooks(str(error)), more, redact_webhooks(lines))
