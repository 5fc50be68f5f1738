"""Brings a run's folder to a store: what has changed, data before what names them, the newest checkpoint alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from offnormal.errors import OffnormalError
from offnormal.files import write_text
from offnormal.run import Elsewhere
from offnormal.training import checkpoint
from offnormal.training.upload.snapshot import (
    STATE,
    Generation,
    Held,
    files_of,
    freeze,
    freeze_checkpoint,
    stage,
    stamp,
)
from offnormal.training.upload.store import Store
from offnormal.training.worker import Worker

_WHICH = ("best", "last")  # in the order in which they are written: the second speaks of the first
_EVERY_S = 1.0  # between two looks for a new checkpoint
_PATIENCE_S, _STALL_S = 60.0, 600.0  # at the end: tries after failures; a single large file may take long
_HURRY_S = 5.0  # at the end of a fit that failed or was interrupted
_NAMES = 3  # files named where some are missing
_RUN = re.compile(r"\d{8}-\d{6}-")  # how the folder of a run begins

_Moved = Callable[[], None]


@dataclass(slots=True)
class _State:
    """What lies in the store, as far as this folder knows."""

    to: str
    files: dict[str, list[int]] = field(default_factory=dict)  # name -> stamp of what was uploaded
    current: dict[str, str] = field(default_factory=dict)  # checkpoint -> generation that the store names
    begun: list[str] = field(default_factory=list)  # generations that are there, in part or whole, and not named


class Mirror:
    """A run's copy below an address; `bring` makes it equal to the run.

    Raises ConfigError for an address that cannot be used.
    """

    def __init__(self, run: Path, url: str) -> None:
        self.run, self.name = run, _remote_name(run)
        self.store = Store(url)
        self.place = f"{self.store.address}/{self.name}"
        self.sent = 0  # files, in all
        self._state = self._known()

    def bring(self, moved: _Moved = lambda: None) -> None:
        """Upload what has changed, and remove checkpoints that were replaced or are no longer needed.

        moved: called after each file. Raises whatever the store does; what was uploaded before is remembered.
        """
        try:
            with stage(self.run) as staged:
                if not self._state.files:
                    self._state.current = self._named()
                found = [
                    freeze_checkpoint(self.run, which, staged) for which in _WHICH
                ]  # before the log, which is newer
                for held in self._changed(files_of(self.run)):
                    self._put(freeze(held, staged), held, moved)
                self._checkpoints([one for one in found if one is not None], moved)
        finally:
            self._remember()

    def missing(self) -> list[str]:
        """Names of files whose present content is not in the store, checkpoints by their folder."""
        found = [held.name for held in self._changed(files_of(self.run))]
        for which in _WHICH:
            folder = checkpoint.place(self.run, which)
            generation = f"checkpoints/{self._state.current.get(which, '')}"
            sent = [self._state.files.get(f"{generation}/{name}") for name in checkpoint.FILES]
            if folder.is_dir() and sent != [list(stamp(folder / name)) for name in checkpoint.FILES]:
                found.append(folder.relative_to(self.run).as_posix())
        return found

    def described(self) -> str:
        """What is missing, in words."""
        names = self.missing()
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        return f"not uploaded: {', '.join(names[:_NAMES])}{more}" if names else "perhaps not all was uploaded"

    def _checkpoints(self, found: list[Generation], moved: _Moved) -> None:
        state = self._state
        kept = state.current if (self.run / checkpoint.NAMES).parent.is_dir() else {}  # one may be out of its place
        wanted = {**kept, **{one.name.partition("-")[0]: one.name for one in found}}
        for one in found:
            if one.name not in (*state.begun, *state.current.values()):
                state.begun.append(one.name)
            for held in self._changed(one.files):
                self._put(held.path, held, moved)
        if wanted != state.current:
            if wanted:
                self.store.write(f"{self.name}/{checkpoint.NAMES}", (json.dumps(wanted, indent=1) + "\n").encode())
            else:
                self.store.remove(f"{self.name}/{checkpoint.NAMES}")
            state.begun += [name for name in state.current.values() if name not in state.begun]
            state.current = wanted
        for name in [name for name in state.begun if name not in wanted.values()]:
            for file in checkpoint.FILES:
                self.store.remove(f"{self.name}/checkpoints/{name}/{file}")
                state.files.pop(f"checkpoints/{name}/{file}", None)
            state.begun.remove(name)
        state.begun = []

    def _named(self) -> dict[str, str]:
        """The checkpoints that the store names, of an upload that this folder knows nothing of."""
        try:
            values = json.loads(self.store.read(f"{self.name}/{checkpoint.NAMES}") or b"{}")
        except ValueError:
            return {}
        return {which: str(values[which]) for which in _WHICH if which in values}

    def _changed(self, files: list[Held]) -> Iterator[Held]:
        for held in files:
            if self._state.files.get(held.name) != list(held.stamp):
                yield held

    def _put(self, file: Path, held: Held, moved: _Moved) -> None:
        self.store.put(file, f"{self.name}/{held.name}")
        self._state.files[held.name] = list(stamp(file))
        self.sent += 1
        moved()

    def _known(self) -> _State:
        try:
            values = json.loads((self.run / STATE).read_text(encoding="utf-8"))
            state = _State(**values)
        except (OSError, ValueError, TypeError):
            return _State(self.place)
        return state if state.to == self.place else _State(self.place)

    def _remember(self) -> None:
        state = self._state
        values = {"to": state.to, "files": state.files, "current": state.current, "begun": state.begun}
        write_text(self.run / STATE, json.dumps(values, indent=1) + "\n")


class Uploader:
    """Keeps a mirror of the run while it is fitted: at its beginning, after each checkpoint and at its end."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._seen: object = None
        self._ending = False
        self._worker = Worker(self._turn, what=f"the upload to {mirror.store.address}", every_s=_EVERY_S)

    def close(self, *, hurry: bool = False) -> Elsewhere:
        """Upload what is left and end. hurry: a fit was broken off."""
        self._ending = True
        patience, stall = (_HURRY_S, _HURRY_S) if hurry else (_PATIENCE_S, _STALL_S)
        error = self._worker.close(patience_s=patience, stall_s=stall)
        missing = None if error is None else f"{self._mirror.described()} ({error})"
        return Elsewhere("upload", self._mirror.place, missing)

    def _turn(self) -> None:
        now = [_identity(checkpoint.place(self._mirror.run, which)) for which in _WHICH]
        if now == self._seen and not self._ending:
            return
        self._mirror.bring(self._worker.moved)
        self._seen = now


def _remote_name(run: Path) -> str:
    """How a run is called in a store: as its folder, of one of several categories with the folder above.

    >>> _remote_name(Path("runs/20261121-105426-padim-bottle"))
    '20261121-105426-padim-bottle'
    >>> _remote_name(Path("runs/20261121-105426-padim-mvtec/bottle"))
    '20261121-105426-padim-mvtec/bottle'
    """
    path = run.resolve()
    inner = not _RUN.match(path.name) and _RUN.match(path.parent.name)
    return f"{path.parent.name}/{path.name}" if inner else path.name


def address_of(run: Path) -> str | None:
    """Where a run was uploaded to before, without the login and without the run's own name."""
    try:
        to = json.loads((run / STATE).read_text(encoding="utf-8"))["to"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(to).removesuffix(f"/{_remote_name(run)}")


def bring_now(run: Path, url: str) -> tuple[int, str]:
    """Upload what is left of a run; the number of files sent, and where it lies now.

    Raises OffnormalError when the store cannot be reached for a minute, with what is missing.
    """
    mirror = Mirror(run, url)
    found = Uploader(mirror).close()
    if found.missing is not None:
        raise OffnormalError(f"{mirror.place}: {found.missing}; try again when it can be reached")
    return mirror.sent, mirror.place


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
