"""What a run's folder holds at one moment, as files that stay as they are while they are uploaded."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from offnormal.training import checkpoint

STATE = "upload.json"
_LEFT_OUT = {"checkpoints", "wandb"}  # the first is told of apart; the second goes its own way
_STAGE = ".upload"
_TRIES = 20
_REPLACED = "bundle"  # files that are never changed in place, only replaced
_LAST = "card.json"  # says what belongs to a bundle, with hashes

Stamp = tuple[int, int]  # bytes, time of change in ns


@dataclass(frozen=True, slots=True)
class Held:
    """A file of the run."""

    name: str  # with forward slashes, in the run
    path: Path
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Generation:
    """A checkpoint as it was at one moment."""

    name: str  # that nothing else has had: last-000120-1f2e3d
    files: list[Held]  # data first


def files_of(run: Path) -> list[Held]:
    """Every file of the run but its checkpoints, in the order to upload them: the card of a bundle after its data."""
    found = []
    for folder, inner, names in os.walk(run):
        inner[:] = [
            name for name in inner if not name.startswith(".") and not (Path(folder) == run and name in _LEFT_OUT)
        ]
        for name in names:
            path = Path(folder) / name
            if name.startswith(".") or path == run / STATE or path.is_symlink():
                continue
            with contextlib.suppress(FileNotFoundError):  # replaced by another just now
                found.append(Held(path.relative_to(run).as_posix(), path, stamp(path)))
    return sorted(found, key=lambda held: (held.path.name == _LAST, "/" in held.name, held.name))


def stamp(path: Path) -> Stamp:
    """What changes when a file does."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


@contextlib.contextmanager
def stage(run: Path) -> Iterator[Path]:
    """A hidden folder in the run for the time of an upload."""
    folder = run / _STAGE
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def freeze(held: Held, staged: Path) -> Path:
    """The file's present content, whatever is written to it or takes its place from now on."""
    target = staged / "files" / held.name
    target.parent.mkdir(parents=True, exist_ok=True)
    _keep(held.path, target, linked=held.name.startswith(f"{_REPLACED}/"))
    return target


def freeze_checkpoint(run: Path, which: str, staged: Path) -> Generation | None:
    """A checkpoint, all of whose files are of the same moment; None when there is none."""
    folder = checkpoint.place(run, which)
    for number in range(_TRIES):
        kept = staged / f"{which}-{number}"
        kept.mkdir()
        try:
            before = folder.stat().st_ino
            for name in checkpoint.FILES:
                _keep(folder / name, kept / name, linked=True)
            if folder.stat().st_ino == before:
                return _generation(which, kept)
        except FileNotFoundError:  # is being replaced, or there is none
            if not folder.parent.is_dir() or (number > 2 and not folder.exists()):
                return None
    return None


def _generation(which: str, kept: Path) -> Generation:
    stamps = {name: stamp(kept / name) for name in checkpoint.FILES}
    step = json.loads((kept / checkpoint.FILES[-1]).read_text(encoding="utf-8")).get("step") or 0
    mark = hashlib.sha256(repr(sorted(stamps.items())).encode()).hexdigest()[:8]
    name = f"{which}-{step:06}-{mark}"
    return Generation(
        name, [Held(f"checkpoints/{name}/{file}", kept / file, stamps[file]) for file in checkpoint.FILES]
    )


def _keep(path: Path, target: Path, *, linked: bool) -> None:
    if linked:
        try:
            os.link(path, target)
        except FileNotFoundError:
            raise
        except OSError:  # a file system without links
            shutil.copy2(path, target)
    else:
        shutil.copy2(path, target)
