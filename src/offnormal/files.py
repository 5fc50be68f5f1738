"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from offnormal.errors import OffnormalError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_PLACE = (errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well and vanishes when it does not.

    Raises OffnormalError when the disk is full or the place cannot be written.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path, f"partial{path.suffix}")
    try:
        with explained(path):
            yield partial
            with partial.open("r+b") as file:  # Windows flushes only what is open for writing
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) in one step."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` that takes its place when the block ends well; an older one gives way then.

    Raises OffnormalError when the disk is full or the place cannot be written.
    """
    if path.is_file():
        raise OffnormalError(f"{path}: a file lies where a folder is to be; choose another place or remove it")
    partial = _beside(path, "partial")
    with explained(path):
        partial.mkdir(parents=True)
    try:
        with explained(path):
            yield partial
            _take_place(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say in plain words why `path` cannot be written: OffnormalError for a full disk or a place that is closed."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OffnormalError(
                f"{path}: the disk is full; nothing was changed. Free some space and try again"
            ) from None
        if error.errno in _NO_PLACE:
            raise OffnormalError(f"{path}: cannot be written ({error.strerror}); choose another place") from None
        raise


def _take_place(partial: Path, path: Path) -> None:
    """The older folder is removed only when the new one lies in its place, and comes back when that fails."""
    old = _beside(path, "old")
    if path.exists():
        path.replace(old)
    try:
        partial.replace(path)
    finally:
        if old.exists() and not path.exists():
            old.replace(path)
    shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path, ending: str) -> Path:
    """A hidden name in the same folder that nobody else uses; short enough whatever the length of the other."""
    return path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}.{ending}")
