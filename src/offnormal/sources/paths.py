"""Files, globs and folders, as a user names them, -> picture files in natural order."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from pathlib import Path

from offnormal.errors import DataError
from offnormal.sources.image import SUFFIXES


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which `2.png` comes before `10.png`, folder by folder.

    >>> sorted([Path("a/10.png"), Path("a/2.png")], key=natural_key)[0].name
    '2.png'
    """
    pieces = (piece for part in path.parts for piece in (*re.split(r"(\d+)", part.casefold()), ""))
    return tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces)


def is_picture(path: Path) -> bool:
    """Whether the name ends like a picture's and is not hidden (`._x.jpg`, `.thumbs/`)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


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

    Raises DataError for a name that matches nothing.
    """
    files: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        if path.is_dir():
            found = pictures_in(path)
            wanted = f"a picture in it ({', '.join(sorted(SUFFIXES)[:6])}, ...)"
        elif path.exists():
            found = [path]
            wanted = ""
        else:
            matches = [Path(match) for match in glob.glob(str(name), recursive=True)]  # noqa: PTH207 - absolute ones too
            found = sorted((match for match in matches if match.is_file() and is_picture(match)), key=natural_key)
            wanted = "an existing file, folder or glob with pictures"
        if not found:
            raise DataError(f"{name}: nothing to read; expected {wanted}")
        files.update(dict.fromkeys(found))
    return list(files)
