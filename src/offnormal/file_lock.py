"""A lock that programs hold while they change files that they share."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from offnormal.files import explain_write_errors

log = logging.getLogger(__name__)


@contextlib.contextmanager
def file_lock(path: Path, *, waits: bool = True) -> Iterator[None]:
    """Hold the lock of a file, which is created and stays; without `waits`, BlockingIOError if a program holds it.

    There is no lock where the system or the file system has none.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with contextlib.ExitStack() as stack:
        with explain_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("ab"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError as error:
            log.debug("%s: %s", path, error)
        yield
