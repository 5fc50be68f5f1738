"""Snapshots of a run's files, which stay unchanged while they are uploaded."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from offnormal.input_files import load_json, read_text
from offnormal.training import checkpoint

STATE = "upload.json"
_EXCLUDED = {"checkpoints", "wandb"}  # checkpoints are handled separately; wandb syncs itself
_STAGE = ".upload"
_TRIES = 20
_REPLACED = "bundle"  # folder whose files are replaced, never changed in place
_LAST = "card.json"  # lists the files of a bundle with hashes

Stamp = tuple[int, int]  # bytes, time of change in ns


@dataclass(frozen=True, slots=True)
class RunFile:
    """A file of a run."""

    name: str  # relative to the run, with forward slashes
    path: Path
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Generation:
    """The state of a checkpoint at one moment."""

    name: str  # unique: last-000120-1f2e3d
    files: list[RunFile]  # data first


def list_files(run: Path) -> list[RunFile]:
    """List the files of a run except its checkpoints, in upload order: a bundle's card comes after its data."""
    files = []
    for folder, inner, names in os.walk(run):
        inner[:] = [
            name for name in inner if not name.startswith(".") and not (Path(folder) == run and name in _EXCLUDED)
        ]
        for name in names:
            path = Path(folder) / name
            if name.startswith(".") or path == run / STATE or path.is_symlink():
                continue
            with contextlib.suppress(FileNotFoundError):  # just replaced by another
                files.append(RunFile(path.relative_to(run).as_posix(), path, stamp(path)))
    return sorted(files, key=lambda file: (file.path.name == _LAST, "/" in file.name, file.name))


def stamp(path: Path) -> Stamp:
    """Return the size and modification time of a file."""
    stats = path.stat()
    return stats.st_size, stats.st_mtime_ns


@contextlib.contextmanager
def stage(run: Path) -> Iterator[Path]:
    """Provide a hidden folder in the run for the time of an upload."""
    folder = run / _STAGE
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def freeze(file: RunFile, staged: Path) -> Path:
    """Copy a file, so that later changes do not affect its upload; return the path of the copy."""
    target = staged / "files" / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    _copy(file.path, target, link=file.name.startswith(f"{_REPLACED}/"))
    return target


def freeze_checkpoint(run: Path, which: str, staged: Path) -> Generation | None:
    """Copy a checkpoint with all files from the same moment; None if there is none."""
    folder = checkpoint.checkpoint_path(run, which)
    for number in range(_TRIES):
        copy = staged / f"{which}-{number}"
        copy.mkdir()
        try:
            before = folder.stat().st_ino
            for name in checkpoint.FILES:
                _copy(folder / name, copy / name, link=True)
            if folder.stat().st_ino == before:
                return _generation(which, copy)
        except FileNotFoundError:  # it is being replaced, or there is none
            if not folder.parent.is_dir() or (number > 2 and not folder.exists()):
                return None
    return None


def _generation(which: str, copy: Path) -> Generation:
    stamps = {name: stamp(copy / name) for name in checkpoint.FILES}
    step = load_json(read_text(copy / checkpoint.FILES[-1])).get("step") or 0
    digest = hashlib.sha256(repr(sorted(stamps.items())).encode()).hexdigest()[:8]
    name = f"{which}-{step:06}-{digest}"
    return Generation(
        name, [RunFile(f"checkpoints/{name}/{file}", copy / file, stamps[file]) for file in checkpoint.FILES]
    )


def _copy(path: Path, target: Path, *, link: bool) -> None:
    if link:
        try:
            os.link(path, target)
        except FileNotFoundError:
            raise
        except OSError:  # a file system without links
            shutil.copy2(path, target)
    else:
        shutil.copy2(path, target)
