"""Recognizes items by their bytes: those that a detector has used before, and copies among items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from offnormal.data.dataset import UNREADABLE, Dataset, Skipped, hash_contents
from offnormal.errors import DataError, name_some
from offnormal.types import Item

_CHARACTERS = 16  # of a sha256
Nouns = tuple[str, str]  # singular and plural


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """Items of a test set that the detector was trained on, or that its threshold was set on."""

    items: tuple[Item, ...]
    total: int  # items looked at
    is_excluded: bool

    @property
    def names(self) -> list[str]:
        """Names of the items."""
        return [item.name for item in self.items]

    def note(self, nouns: Nouns) -> str | None:
        """Return a warning; None if there is no such item.

        >>> item = Item(address="a.png", name="a.png")
        >>> Reuse(items=(item,), total=5, is_excluded=True).note(("image", "images"))
        '1 of 5 images was used for training or for the threshold, and is excluded: a.png'
        """
        if not self.items:
            return None
        number, is_one = len(self.items), len(self.items) == 1
        subject = f"{number:,} of {self.total:,} {nouns[self.total != 1]} {'was' if is_one else 'were'} used for"
        names = name_some(self.names)
        if self.is_excluded:
            return f"{subject} training or for the threshold, and {'is' if is_one else 'are'} excluded: {names}"
        return (
            f"{subject} training or for the threshold, so {'its score is' if is_one else 'their scores are'} "
            f"optimistically biased: {names} (--exclude-known excludes {'it' if is_one else 'them'})"
        )


NO_REUSE = Reuse(items=(), total=0, is_excluded=False)


def find_reuse(items: Sequence[Item], contents: Collection[str], *, exclude: bool) -> tuple[list[Item], Reuse]:
    """Return the items to score, and those whose bytes are among `contents`; see `content_keys`.

    Only files whose size is that of a file in `contents` are read. Raises DataError if exclude leaves no item.
    """
    sizes = {key.partition("-")[0] for key in contents}
    candidates = [item for item in items if sizes and str(_size(item.path)) in sizes]
    keys = _keys(candidates)
    reused = tuple(item for item in candidates if keys.get(item.path) in contents)
    reuse = Reuse(items=reused, total=len(items), is_excluded=exclude)
    if not exclude or not reused:
        return list(items), reuse
    addresses = {item.address for item in reused}
    remaining = [item for item in items if item.address not in addresses]
    if not remaining:
        raise DataError(
            f"--exclude-known: all {len(items):,} were used for training or for the threshold; expected other data"
        )
    return remaining, reuse


def content_keys(items: Sequence[Item]) -> list[str]:
    """Return the sorted keys of the bytes of items, by which `find_reuse` recognizes them; not of unreadable files.

    A key is the size of the file and the first characters of its sha256.
    """
    return sorted(set(_keys(items).values()))


def without_copies(items: Sequence[Item]) -> tuple[list[Item], list[Skipped]]:
    """Return items with different bytes, the first of each, and the copies with the name of their original.

    Only files of equal size are read.
    """
    sizes = {item.path: _size(item.path) for item in items}
    counts = Counter(sizes.values())
    keys = _keys([item for item in items if counts[sizes[item.path]] > 1])
    originals: dict[str, Item] = {}
    unique, copies = [], []
    for item in items:
        original = originals.setdefault(keys.get(item.path, item.address), item)
        if original is item:
            unique.append(item)
        else:
            reason = f"{item.path}: the same bytes as {original.name}, which counts once"
            copies.append(Skipped(item.path, reason, "copy"))
    return unique, copies


def drop_copies(dataset: Dataset) -> Dataset:
    """Return the dataset whose training and calibration items have different bytes; it lists the copies as skipped."""
    unique, copies = without_copies([*dataset.train, *dataset.calibration])
    if not copies:
        return dataset
    addresses = {item.address for item in unique}
    train, calibration = (
        tuple(item for item in items if item.address in addresses) for items in (dataset.train, dataset.calibration)
    )
    return replace(dataset, train=train, calibration=calibration, skipped=(*dataset.skipped, *copies))


def _keys(items: Sequence[Item]) -> dict[Path, str]:
    hashes = hash_contents(item.path for item in items)
    return {path: f"{_size(path)}-{digest[:_CHARACTERS]}" for path, digest in hashes.items() if digest != UNREADABLE}


def _size(path: Path) -> int:
    """Return the size of a file in bytes; 0 for a folder of frames, an image inside a file, and a missing file."""
    return path.stat().st_size if path.is_file() else 0
