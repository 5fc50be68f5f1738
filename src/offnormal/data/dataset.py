"""A dataset: which items are normal and for learning, which are for testing, with labels, masks and groups."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, TypeGuard

from offnormal.data.class_split import ClassChoice, Split
from offnormal.errors import DataError, ImageError
from offnormal.sources import idx
from offnormal.sources.paths import natural_key
from offnormal.types import Item

_READERS = 8  # threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Training normals and labeled (or unlabeled) test items of one category: all images, or all videos."""

    name: str
    layout: str
    root: Path
    category: str | None = None
    train: tuple[Item, ...] = ()  # normal only
    test: tuple[Item, ...] = ()
    calibration: tuple[Item, ...] = ()  # normal, not used for training; (): the fit holds some of `train` out
    split: Split | None = None  # how clips of several classes were divided; None: the dataset says itself

    def __post_init__(self) -> None:
        for items in (self.train, self.test, self.calibration):
            addresses: dict[str, str] = {}
            for item in items:
                if (other := addresses.setdefault(item.name, item.address)) != item.address:
                    raise DataError(f"{other} and {item.address} are both called {item.name!r}; rename one of them")
        if len({item.is_video for item in (*self.train, *self.test, *self.calibration)}) > 1:
            raise DataError(f"{self.root}: a dataset of images and videos; expected all items to be of one kind")

    @property
    def is_video(self) -> bool:
        """Whether the items are videos."""
        return any(item.is_video for items in (self.train, self.test, self.calibration) for item in items[:1])

    def fingerprint(self, split: Literal["train", "test", "all"] = "all") -> str:
        """sha256 over the name, content, labels and masks of every item of a split; "train" includes calibration.

        The same files give the same value wherever they are stored. Reads every file of the split.
        """
        items = [("train", item) for item in self.train if split != "test"]
        items += [("calibration", item) for item in self.calibration if split != "test"]
        items += [("test", item) for item in self.test if split != "train"]
        paths = [item.path for _, item in items] + [item.masks.path for _, item in items if item.masks is not None]
        contents = content_of(paths)
        digest = hashlib.sha256()
        for role, item in items:
            masks = "none" if item.masks is None else f"{contents[item.masks.path]}:{item.masks.key}"
            line = (role, item.name, contents[item.path], _labels(item), masks)
            digest.update(("\0".join(line) + "\n").encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def contents(self) -> list[str]:
        """First 16 characters of the sha256 of every item for training or calibration, sorted: to notice them again."""
        return content_prefixes([*self.train, *self.calibration])

    def grouped(self, group_by: str | None) -> Dataset:
        """The same dataset with every item's group set.

        group_by: None (an item is its own group), "folder" (the folder that holds the item) or a regular expression
        searched in the path relative to the root, whose first (...) that matches (or whole match) names the group. A
        dataset with a split keeps its groups, since the split was made by them.
        Raises DataError when the expression is wrong or does not match every item.
        """
        if group_by is None or self.split is not None:
            return self

        def group(items: tuple[Item, ...]) -> tuple[Item, ...]:
            return tuple(replace(item, group=group_of(item.path, self.root, group_by)) for item in items)

        return replace(self, train=group(self.train), test=group(self.test))


def _labels(item: Item) -> str:
    if item.label is not None:
        return f"{item.label} {item.class_name}"
    return "none" if item.frame_labels is None else hashlib.sha256(item.frame_labels.tobytes()).hexdigest()


def content_prefixes(items: Iterable[Item]) -> list[str]:
    """First 16 characters of the sha256 of each item, sorted."""
    return sorted(content[:16] for content in content_of(item.path for item in items).values())


def content_of(paths: Iterable[Path]) -> dict[Path, str]:
    """Path -> sha256 of a file, or of an image in an IDX file; of a folder over the names and contents of its files.

    "unreadable" for a file that is missing or cannot be read, since a dataset may hold bad files.
    """
    files = {path: _files(path) for path in dict.fromkeys(paths)}
    every = list(dict.fromkeys(file for inside in files.values() for file in inside))
    with ThreadPoolExecutor(_READERS) as pool:
        hashes = dict(zip(every, pool.map(_content, every), strict=True))
    return {
        path: hashes[path] if inside == [path] else _together((file.name, hashes[file]) for file in inside)
        for path, inside in files.items()
    }


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    inside = (file for file in path.iterdir() if not file.name.startswith(".") and file.is_file())
    return sorted(inside, key=natural_key)


def _content(path: Path) -> str:
    try:
        if (inside := idx.parse_address(path)) is not None:
            return hashlib.sha256(idx.read_image(*inside).tobytes()).hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ImageError):
        return "unreadable"


def _together(named: Iterable[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for name, content in named:
        digest.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def group_of(path: Path, root: Path, group_by: str) -> str:
    """The group of an item; see `Dataset.grouped`."""
    if group_by == "folder":
        return path.parent.as_posix()
    name = (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
    try:
        match = re.search(group_by, name)
    except re.error as error:
        raise DataError(f"--group-by {group_by!r} is neither 'folder' nor a regular expression: {error}") from None
    found: str | None = next(filter(None, (*match.groups(), match[0])), None) if match else None
    if found is None:
        raise DataError(
            f"--group-by {group_by!r} does not match {name}: write an expression that matches every path; its first "
            "(...) names the session, lot or camera"
        )
    return found


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was skipped, and why."""

    path: Path
    reason: str


class Layout(Protocol):
    """How a dataset is stored on disk.

    One whose categories are classes, of which any may be the normal one, also has `by_class = True`; one of class
    folders of clips is a `ClassLayout`.
    """

    tree: str  # the expected tree, for people
    source: str  # where such data come from
    license: str  # of those data

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder looks like this layout."""
        ...

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Names of the categories below the folder; empty when the folder is one category itself."""
        ...

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """The dataset of one category; DataError when the tree is not as expected."""
        ...


class ClassLayout(Layout, Protocol):
    """A layout of clips of several classes, of which the user may say which are normal."""

    default: ClassChoice | None  # what is normal when nothing is said; None: it must be said

    @staticmethod
    def clips(root: Path) -> tuple[Item, ...]:
        """Every clip with its class and, as its group, its original; DataError where there is none."""
        ...


def is_of_classes(form: Layout) -> TypeGuard[ClassLayout]:
    """Whether a layout is one of class folders of clips."""
    return hasattr(form, "clips")
