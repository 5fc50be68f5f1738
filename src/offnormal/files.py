"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from offnormal.errors import OffnormalError


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well and vanishes when it does not.

    Raises OffnormalError when the disk is full or the place cannot be written.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        with _explained(path):
            yield partial
            with partial.open("rb") as file:
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
    """An empty folder beside `path` that takes its place when the block ends well; an older one gives way then."""
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        with _explained(path):
            yield partial
            partial.chmod(0o755 & ~_umask())
            if path.exists():
                old = partial.with_suffix(".old")
                path.replace(old)
                partial.replace(path)
                shutil.rmtree(old)
            else:
                partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OffnormalError(
                f"{path}: the disk is full; nothing was changed. Free some space and try again"
            ) from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise OffnormalError(f"{path}: cannot be written ({error.strerror}); choose another folder") from None
        raise
