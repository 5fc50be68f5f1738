"""Outputs: files and folders that appear in one step, pipes and devices that are written through, and stdout (`-`).

A killed program leaves its unfinished files; the next one that writes to the same folder removes them. A folder that
it had moved aside is restored when it is opened.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import logging
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from offnormal.errors import OffnormalError, UsageError

log = logging.getLogger(__name__)
_State = TypeVar("_State")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (
    errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
    errno.ELOOP, errno.ENXIO, errno.ENOENT,
)  # fmt: skip
_DESCRIPTOR = re.compile(r"/dev/(?:std(?:in|out|err)|fd/\d+)|/proc/[^/]+/fd/\d+")  # an open file by its number
_PARTIAL = re.compile(r"\..*\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)-[0-9a-f]{8}\.partial(?:\.[^.]*)?")
_DEEP_OR_HUGE = (RecursionError, ArithmeticError)
_EXCHANGE, _CURRENT_FOLDER = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of renameat2
_ABANDONED_S = 7 * 24 * 3600.0  # an unfinished file of another computer or container that did not change for so long


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose content becomes that of `path` when the block succeeds, and is deleted otherwise.

    A regular file is replaced in one step, with the permissions of a new file; a link stays, and its target is
    replaced. Stdout (`-`), pipes, and devices are written to. Raises OffnormalError when the disk is full or the path
    is not writable.
    """
    if is_written_through(path):
        with tempfile.TemporaryDirectory(prefix="offnormal.") as folder, explain_write_errors(path):
            partial = Path(folder) / f"output{path.suffix}"
            partial.touch()
            yield partial
            with partial.open("rb") as file:
                write_through(path, file)
        return
    target = _follow_link(path)
    with explain_write_errors(path):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    with _folder_of(target, path), explain_write_errors(path):
        partial = hidden_sibling(target, f"partial{path.suffix}")
        try:
            mode = _create(partial)
            yield partial
            with partial.open("r+b") as file:  # Windows flushes only what is open for writing
                os.fsync(file.fileno())
            if stat.S_IMODE(partial.stat().st_mode) != mode:  # some libraries set their own
                partial.chmod(mode)
            partial.replace(target)
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
    if path.exists() and not path.is_dir():
        raise OffnormalError(f"{path}: is a file; expected a folder. Choose another path or remove the file")
    target = _follow_link(path)
    with _folder_of(target, path), explain_write_errors(path):
        partial = hidden_sibling(target, "partial")
        try:
            partial.mkdir()
            yield partial
            _replace_folder(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def restore_folder(path: Path) -> None:
    """Move a folder back that was killed while `new_folder` replaced it, on a file system that cannot swap folders."""
    if not os.path.lexists(path):
        with contextlib.suppress(OSError):
            _old_of(path).replace(path)
            log.warning("%s: restored; a program was killed while it replaced this folder", path)


def check_outputs(outputs: Iterable[tuple[str, Path | None]], inputs: Iterable[Path]) -> None:
    """UsageError if an output is one of the inputs, or two outputs are one file; writes nothing.

    outputs: each with the option that names it. inputs: files, and folders with all that is in them.
    """
    named: dict[object, str] = {}
    for option, path in outputs:
        identity = None if path is None else _identity(path)
        if identity in named:
            raise UsageError(f"{option} {path} is the same file as {named[identity]}; choose another path")
        if identity is not None:
            named[identity] = f"{option} {path}"
    if not any(isinstance(identity, tuple) for identity in named):  # no output exists
        return
    for file in inputs:
        for path, status in _files_below(file):
            if (output := named.get((status.st_dev, status.st_ino))) is not None:
                raise UsageError(f"{output} would overwrite the input {path}; choose another path")


def is_stdout(path: Path | None) -> bool:
    """Whether a path is `-`, or another name of this program's stdout, such as /dev/stdout."""
    if path is None or str(path) == "-":
        return path is not None
    try:
        status = path.stat()
        return os.path.samestat(status, os.fstat(1)) and not os.path.samestat(status, os.stat(os.devnull))  # noqa: PTH116
    except (OSError, ValueError):
        return False


def is_written_through(path: Path) -> bool:
    """Whether a path is stdout, a pipe, a device, or an open file such as /dev/fd/3, which are never replaced.

    Raises OffnormalError for a disk.
    """
    if is_stdout(path):
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    if stat.S_ISBLK(mode):
        raise OffnormalError(f"{path}: is a disk; expected a file. Choose another path")
    is_open = _DESCRIPTOR.fullmatch(os.path.abspath(path)) is not None  # noqa: PTH100 - not its target
    return is_open or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def write_through(path: Path, source: BinaryIO, *, waits: bool = True) -> None:
    """Write to stdout, a pipe, or a device. waits: until another program opens the pipe; otherwise OSError."""
    if not is_stdout(path):
        flags = os.O_WRONLY | os.O_APPEND | (0 if waits else getattr(os, "O_NONBLOCK", 0))
        try:
            with open(os.open(path, flags), "wb") as out:  # noqa: PTH123
                os.set_blocking(out.fileno(), True)
                shutil.copyfileobj(source, out)
        except BrokenPipeError:
            raise OffnormalError(f"{path}: the program that reads this pipe has ended; start both again") from None
        return
    sys.stdout.flush()
    if (buffer := getattr(sys.stdout, "buffer", None)) is None:  # replaced by a program that calls us
        sys.stdout.write(source.read().decode())
    else:
        shutil.copyfileobj(source, buffer)
    sys.stdout.flush()


@contextlib.contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn system errors about `path`, its folder, or its content into an OffnormalError that says why."""
    try:
        yield
    except OSError as error:
        if not _concerns(error, path):
            raise
        name = "stdout" if is_stdout(path) else path
        if error.errno in _FULL:
            raise OffnormalError(f"{name}: the disk is full; nothing was changed. Free some space and retry") from None
        if error.errno in _NOT_WRITABLE:
            raise OffnormalError(f"{name}: cannot be written ({error.strerror}); choose another path") from None
        raise


def set_aside(path: Path) -> Path:
    """Rename a damaged file to `NAME.damaged`, or `NAME.damaged-2` and so on; return the new path."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged{'' if number == 1 else f'-{number}'}")).exists():
        number += 1
    return path.replace(aside)


def read_state(path: Path, parse: Callable[[Any], _State], lost: str, *, repairs: bool = True) -> _State | None:
    """What `parse` makes of a JSON file that this program wrote; None if there is none.

    A damaged file is set aside with one warning. lost: what that means, such as `open events are lost`. repairs: False
    leaves the file where it is, because it may belong to another program.
    Raises OffnormalError if the file cannot be read now, which says nothing about its content.
    """
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OffnormalError(f"{path}: cannot be read ({error.strerror}); check its permissions and its disk") from None
    except (OffnormalError, ValueError, TypeError, LookupError, AttributeError, *_DEEP_OR_HUGE) as error:
        try:
            aside = f"now {set_aside(path)}" if repairs else "not renamed"
        except OSError:
            aside = "not renamed"
        log.warning("%s: damaged (%s), %s; %s", path, str(error)[:200] or type(error).__name__, aside, lost)
        return None


def hidden_sibling(path: Path, suffix: str) -> Path:
    """Return a unique hidden path in the same folder, short enough for any file system, that names this process.

    `sweep` removes it when it ends in `partial`, or in `partial` and one more suffix, and the process is gone.
    """
    pid = os.getpid()
    token = f"{_host()}-{pid}-{_own_start(pid)}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.stem[:40]}.{token}.{suffix}")


def sweep(folder: Path, depth: int = 0) -> None:
    """Remove unfinished files and folders of killed programs from a folder, and from `depth` levels of folders in it.

    Files of programs that still run and of others than this package stay. Whether a program on another computer or in
    another container still runs cannot be seen: its files stay until they have not changed for a week.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError:  # missing, or not ours to read
        return
    for entry in entries:
        is_folder = entry.is_dir(follow_symlinks=False)
        match = _PARTIAL.fullmatch(entry.name)
        if match is None:
            if depth and is_folder:
                sweep(Path(entry.path), depth - 1)
        elif _is_abandoned(match, entry):
            if is_folder:
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()


def _is_abandoned(match: re.Match[str], entry: os.DirEntry[str]) -> bool:
    if match["host"] == _host():
        try:
            return _start_of(int(match["pid"])) != int(match["start"])
        except OSError:  # unknown now, such as without a free file descriptor
            return False
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_S
    except OSError:  # it is finished, and has another name
        return False


def _follow_link(path: Path) -> Path:
    """The path itself, or the target of a link; OffnormalError for a link to a folder that is missing."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise OffnormalError(f"{path}: is a link to {target}, whose folder is missing; create it, or remove the link")
    return target


@contextlib.contextmanager
def _folder_of(target: Path, path: Path) -> Iterator[None]:
    """Create the folder of a target and sweep it; if the block fails, remove the folders that are empty again."""
    with explain_write_errors(path):
        missing = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(target.parent)
    try:
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _create(partial: Path) -> int:
    """Create an empty file; return its permissions, which the system derives from the umask."""
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def _replace_folder(partial: Path, path: Path) -> None:
    """Replace a folder, in one step where the system can; otherwise restore the old one if that fails."""
    restore_folder(path)
    if not path.exists():
        partial.replace(path)
        return
    if _exchange(partial, path):  # `partial` is now the old one
        return
    old = _old_of(path)
    shutil.rmtree(old, ignore_errors=True)  # of a program that was killed after it had replaced the folder
    path.replace(old)
    try:
        partial.replace(path)
    finally:
        restore_folder(path)
    shutil.rmtree(old, ignore_errors=True)


def _old_of(path: Path) -> Path:
    """The hidden name of a folder while it is replaced."""
    return path.with_name(f".{path.stem[:40]}.{zlib.crc32(os.fsencode(path.name)):08x}.old")


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step; False where the system or the file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    names = os.fsencode(first), os.fsencode(second)
    return renameat2 is not None and not renameat2(_CURRENT_FOLDER, names[0], _CURRENT_FOLDER, names[1], _EXCHANGE)


def _concerns(error: OSError, path: Path) -> bool:
    """Whether an error is about a path, or the folders above it, or the files in it or beside it."""
    if not isinstance(error.filename, str | bytes):  # of a write
        return True
    at, target = Path(os.fsdecode(error.filename)), Path(os.path.realpath(path))
    folders = {path, target, path.parent, target.parent}
    return at in folders or at.parent in folders or at in path.parents or at in target.parents


def _identity(path: Path) -> object:
    """What two names of one output share; None for folders and devices, which can be named twice."""
    if is_stdout(path):
        return "stdout"
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    return None if is_device or stat.S_ISDIR(status.st_mode) else (status.st_dev, status.st_ino)


def _files_below(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """A file, or the files in a folder at any depth; files that cannot be read are not listed."""
    with contextlib.suppress(OSError):
        if path.is_dir():
            for parent, _, names in os.walk(path):
                for name in names:
                    with contextlib.suppress(OSError):
                        file = Path(parent, name)
                        yield file, file.stat()
        else:
            yield path, path.stat()


@cache
def _sweep_once(folder: Path) -> None:
    sweep(folder)


@cache
def _host() -> str:
    """The computer and the container, in which process numbers have one meaning, also after a restart."""
    machine = [platform.node()]
    with contextlib.suppress(OSError):  # other systems have neither
        machine.append(str(Path("/proc/self/ns/pid").stat().st_ino))
        machine.append(Path("/etc/machine-id").read_text(encoding="ascii", errors="replace"))
    return f"{zlib.crc32(''.join(machine).encode(errors='replace')):08x}"


@cache
def _own_start(pid: int) -> int:
    return _start_of(pid)


def _start_of(pid: int) -> int:
    """When a process started, in ticks since boot: tells it from a later one of the same number; 0: no such process.

    Without /proc, 1 for every process that exists, or that may exist. Raises OSError if it cannot be looked up now.
    """
    if Path("/proc/self/stat").exists():
        try:
            return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
        except (FileNotFoundError, ProcessLookupError, IndexError, ValueError):
            return 0
    if os.name == "nt":  # os.kill would end the process
        return 1
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return 0
    except OSError:
        pass
    return 1
