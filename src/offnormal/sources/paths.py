"""Files, globs and folders, as a user names them, -> picture files in natural order."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from offnormal.errors import DataError
from offnormal.sources import idx
from offnormal.sources.image import SUFFIXES


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which `2.png` comes before `10.png`, folder by folder; no two paths share one.

    >>> sorted([Path("a/10.png"), Path("a/2.png")], key=natural_key)[0].name
    '2.png'
    """
    pieces = (piece for part in path.parts for piece in (*re.split(r"(\d+)", part.casefold()), ""))
    key = tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces)
    return (*key, (2, 0, str(path)))  # `a` and `A`, `1` and `01`: in the same order on every file system


def is_picture(path: Path) -> bool:
    """Whether the name ends like a picture's and is not hidden (`._x.jpg`)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def as_written(name: str | Path) -> Path:
    """The path a user wrote; one written on Windows, with backslashes, is understood elsewhere where it exists.

    A name that exists with its backslashes is left alone.
    """
    path, portable = Path(name), Path(str(name).replace("\\", "/"))
    return portable if portable.exists() and not path.exists() else path


def pictures_in(folder: Path, *, recursive: bool = True) -> list[Path]:
    """Every picture file in a folder, naturally sorted; hidden files and folders are passed over."""
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(
        (
            path
            for path in found
            if is_picture(path)
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            and path.is_file()
        ),
        key=natural_key,
    )


def expand(names: Iterable[str | Path]) -> list[Path]:
    """Files, globs (`*.png`, `**`) and folders (recursively) -> picture files, each once, in the order named.

    Folders that a glob finds are searched too, as when a shell expands it; an IDX file stands for all pictures in it,
    FILE/42 for one. Raises DataError for a name that matches nothing.
    """
    files: dict[str, Path] = {}
    for name in names:
        path = as_written(name)
        if not str(name):
            raise DataError("an empty name: nothing to read; expected a file, folder or glob (. is this folder)")
        if path.is_dir():
            found = pictures_in(path)
            wanted = f"a picture in it ({', '.join(sorted(SUFFIXES)[:6])}, ...)"
        elif path.exists():
            found = idx.pictures_of(path) if idx.is_idx(path) else [path]
            wanted = "a picture in it"
        elif idx.address(path) is not None and path.parent.is_file():
            found, wanted = [path], ""
        else:
            found = _matches(str(name))
            wanted = "an existing file, folder or glob with pictures"
        if not found:
            raise DataError(f"{name}: nothing to read; expected {wanted}")
        for file in found:
            files.setdefault(os.path.abspath(file), file)  # noqa: PTH100 - links stay apart
    return list(files.values())


def _matches(pattern: str) -> list[Path]:
    """Pictures that a glob finds, in the first of its readings that finds any."""
    for matches in readings(pattern):
        found = {file for match in matches if match.is_dir() for file in pictures_in(match)}
        found |= {match for match in matches if is_picture(match) and match.is_file()}
        if found:
            return sorted(found, key=natural_key)
    return []


def readings(pattern: str) -> Iterator[list[Path]]:
    """What a glob finds as it stands, then with \\ as / (Windows) and [ as itself (`lot [1]/*.png`)."""
    portable = pattern.replace("\\", "/")
    for reading in dict.fromkeys((pattern, portable, pattern.replace("[", "[[]"), portable.replace("[", "[[]"))):
        yield [Path(match) for match in glob.glob(reading, recursive=True)]  # noqa: PTH207 - absolute ones too
