"""Copies a run to a store: changed files, data before the files that refer to it, and only the newest checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from offnormal.errors import OffnormalError, name_some
from offnormal.files import write_text
from offnormal.input_files import load_json, read_text
from offnormal.run import Destination
from offnormal.training import checkpoint
from offnormal.training.upload.snapshot import (
    STATE,
    Generation,
    RunFile,
    freeze,
    freeze_checkpoint,
    list_files,
    stage,
    stamp,
)
from offnormal.training.upload.store import Store
from offnormal.training.worker import Worker

_CHECKPOINTS = ("best", "last")  # in the order in which they are written: `last` refers to `best`
_EVERY_S = 1.0  # between two checks for a new checkpoint
_PATIENCE_S, _STALL_S = 60.0, 600.0  # at the end: for retries, and for a large file
_HURRY_S = 5.0  # at the end of a fit that failed or was interrupted
_RUN = re.compile(r"\d{8}-\d{6}-")  # prefix of a run folder

_Callback = Callable[[], None]


@dataclass(slots=True)
class _State:
    """The known content of the store."""

    address: str
    files: dict[str, list[int]] = field(default_factory=dict)  # name -> stamp of the uploaded file
    current: dict[str, str] = field(default_factory=dict)  # checkpoint -> generation in current.json
    unreferenced: list[str] = field(default_factory=list)  # uploaded generations, maybe incomplete, not in current.json


class Mirror:
    """The copy of a run in a store; `sync` updates it.

    Raises ConfigError for an address that cannot be used.
    """

    def __init__(self, run: Path, url: str) -> None:
        self.run, self.name = run, _remote_name(run)
        self.store = Store(url)
        self.location = f"{self.store.address}/{self.name}"
        self.files_sent = 0
        self._state = self._read_state()

    def sync(self, on_file: _Callback = lambda: None) -> None:
        """Upload changed files, and remove checkpoints that were replaced or are no longer needed.

        on_file: called after each file. Raises the errors of the store; files uploaded before stay recorded.
        """
        try:
            with stage(self.run) as staged:
                if not self._state.files:
                    self._state.current = self._read_current()
                # copied before the log, so that the log is not older
                generations = [freeze_checkpoint(self.run, which, staged) for which in _CHECKPOINTS]
                for file in self._changed(list_files(self.run)):
                    self._put(freeze(file, staged), file, on_file)
                self._sync_checkpoints([generation for generation in generations if generation is not None], on_file)
        finally:
            self._write_state()

    def missing(self) -> list[str]:
        """List the files whose current content is not in the store; checkpoints by their folder."""
        names = [file.name for file in self._changed(list_files(self.run))]
        for which in _CHECKPOINTS:
            folder = checkpoint.checkpoint_path(self.run, which)
            generation = f"checkpoints/{self._state.current.get(which, '')}"
            sent = [self._state.files.get(f"{generation}/{name}") for name in checkpoint.FILES]
            if folder.is_dir() and sent != [list(stamp(folder / name)) for name in checkpoint.FILES]:
                names.append(folder.relative_to(self.run).as_posix())
        return names

    def describe_missing(self) -> str:
        """Describe the missing files in a message."""
        names = self.missing()
        return f"not uploaded: {name_some(names)}" if names else "perhaps not everything was uploaded"

    def _sync_checkpoints(self, generations: list[Generation], on_file: _Callback) -> None:
        state = self._state
        has_checkpoints = (self.run / checkpoint.CURRENT).parent.is_dir()  # one may be moved at this moment
        new = {generation.name.partition("-")[0]: generation.name for generation in generations}
        target = {**(state.current if has_checkpoints else {}), **new}
        for generation in generations:
            if generation.name not in (*state.unreferenced, *state.current.values()):
                state.unreferenced.append(generation.name)
            for file in self._changed(generation.files):
                self._put(file.path, file, on_file)
        if target != state.current:
            if target:
                self.store.write(f"{self.name}/{checkpoint.CURRENT}", (json.dumps(target, indent=1) + "\n").encode())
            else:
                self.store.remove(f"{self.name}/{checkpoint.CURRENT}")
            state.unreferenced += [name for name in state.current.values() if name not in state.unreferenced]
            state.current = target
        for name in [name for name in state.unreferenced if name not in target.values()]:
            for file_name in checkpoint.FILES:
                self.store.remove(f"{self.name}/checkpoints/{name}/{file_name}")
                state.files.pop(f"checkpoints/{name}/{file_name}", None)
            state.unreferenced.remove(name)
        state.unreferenced = []

    def _read_current(self) -> dict[str, str]:
        """Read current.json from the store, for an upload that this folder has no record of."""
        try:
            values = dict(load_json(self.store.read(f"{self.name}/{checkpoint.CURRENT}") or b"{}"))
        except (ValueError, TypeError):
            return {}
        return {which: str(values[which]) for which in _CHECKPOINTS if which in values}

    def _changed(self, files: list[RunFile]) -> Iterator[RunFile]:
        for file in files:
            if self._state.files.get(file.name) != list(file.stamp):
                yield file

    def _put(self, path: Path, file: RunFile, on_file: _Callback) -> None:
        self.store.put(path, f"{self.name}/{file.name}")
        self._state.files[file.name] = list(stamp(path))
        self.files_sent += 1
        on_file()

    def _read_state(self) -> _State:
        try:
            values = load_json(read_text(self.run / STATE))
            state = _State(**values)
        except (OSError, ValueError, TypeError):
            return _State(self.location)
        return state if state.address == self.location else _State(self.location)

    def _write_state(self) -> None:
        write_text(self.run / STATE, json.dumps(asdict(self._state), indent=1) + "\n")


class Uploader:
    """Syncs the mirror of a run during its fit: at the start, after each checkpoint, and at the end."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._synced: object = None  # checkpoints at the last sync
        self._ending = False
        self._worker = Worker(self._sync, name=f"the upload to {mirror.store.address}", interval_s=_EVERY_S)

    def close(self, *, hurry: bool = False) -> Destination:
        """Upload the remaining files and stop. hurry: the fit was interrupted."""
        self._ending = True
        patience, stall = (_HURRY_S, _HURRY_S) if hurry else (_PATIENCE_S, _STALL_S)
        error = self._worker.close(patience_s=patience, stall_s=stall)
        missing = None if error is None else f"{self._mirror.describe_missing()} ({error})"
        return Destination("upload", self._mirror.location, missing)

    def _sync(self) -> None:
        checkpoints = [_identity(checkpoint.checkpoint_path(self._mirror.run, which)) for which in _CHECKPOINTS]
        if checkpoints == self._synced and not self._ending:
            return
        self._mirror.sync(self._worker.note_progress)
        self._synced = checkpoints


def _remote_name(run: Path) -> str:
    """Return a run's name in a store: its folder, with the parent folder if that holds several categories.

    >>> _remote_name(Path("runs/20261121-105426-padim-bottle"))
    '20261121-105426-padim-bottle'
    >>> _remote_name(Path("runs/20261121-105426-padim-mvtec/bottle"))
    '20261121-105426-padim-mvtec/bottle'
    """
    path = run.resolve()
    inner = not _RUN.match(path.name) and _RUN.match(path.parent.name)
    return f"{path.parent.name}/{path.name}" if inner else path.name


def previous_address(run: Path) -> str | None:
    """Return the address that a run was uploaded to before, without the login and the run's name."""
    try:
        address = load_json(read_text(run / STATE))["address"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(address).removesuffix(f"/{_remote_name(run)}")


def upload_run(run: Path, url: str) -> tuple[int, str]:
    """Upload the missing files of a run; return how many were sent, and the run's location.

    Raises OffnormalError with the missing files if the store cannot be reached for a minute.
    """
    mirror = Mirror(run, url)
    destination = Uploader(mirror).close()
    if destination.missing is not None:
        raise OffnormalError(f"{mirror.location}: {destination.missing}; try again when the store can be reached")
    return mirror.files_sent, mirror.location


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        stats = folder.stat()
    except OSError:
        return None
    return stats.st_ino, stats.st_mtime_ns
