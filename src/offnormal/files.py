"""Atomic writes of files and folders."""

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
_NOT_WRITABLE = (errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block succeeds and is deleted when it fails.

    Raises OffnormalError when the disk is full or the path is not writable.
    """
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    partial = _hidden_sibling(path, f"partial{path.suffix}")
    try:
        with explain_write_errors(path):
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
    """Yield an empty temporary folder that replaces `path` when the block succeeds.

    Raises OffnormalError when the disk is full or the path is not writable.
    """
    if path.is_file():
        raise OffnormalError(f"{path}: is a file; expected a folder. Choose another path or remove the file")
    partial = _hidden_sibling(path, "partial")
    with explain_write_errors(path):
        partial.mkdir(parents=True)
    try:
        with explain_write_errors(path):
            yield partial
            _replace_folder(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn system errors into an OffnormalError that says why `path` cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OffnormalError(f"{path}: the disk is full; nothing was changed. Free some space and retry") from None
        if error.errno in _NOT_WRITABLE:
            raise OffnormalError(f"{path}: cannot be written ({error.strerror}); choose another path") from None
        raise


def _replace_folder(partial: Path, path: Path) -> None:
    """Replace a folder; restore the old one if that fails."""
    old = _hidden_sibling(path, "old")
    if path.exists():
        path.replace(old)
    try:
        partial.replace(path)
    finally:
        if old.exists() and not path.exists():
            old.replace(path)
    shutil.rmtree(old, ignore_errors=True)


def _hidden_sibling(path: Path, suffix: str) -> Path:
    """Return a unique hidden path in the same folder, short enough for any file system."""
    return path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}.{suffix}")
