"""A dataset: training and test items with labels, masks, and groups; and the interface of a layout."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, TypeGuard

from offnormal.data.class_split import ClassChoice, Split
from offnormal.data.page_items import expand_pages
from offnormal.errors import DataError, ImageError, counted, name_some
from offnormal.sources.image import pixel_bytes
from offnormal.sources.pages import parse_address
from offnormal.sources.paths import natural_key
from offnormal.types import Item

log = logging.getLogger(__name__)

_READERS = 8  # threads
UNREADABLE = "unreadable"  # instead of the sha256 of a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Normal training items and labeled or unlabeled test items of one category: all images, or all videos."""

    name: str
    layout: str
    root: Path
    category: str | None = None
    train: tuple[Item, ...] = ()  # normal only
    test: tuple[Item, ...] = ()
    calibration: tuple[Item, ...] = ()  # normal, not used for training; (): fit holds out a share of `train`
    skipped: tuple[Skipped, ...] = ()  # what the search of its folders did not read, and why
    split: Split | None = None  # how clips of several classes were split; None: the dataset defines the split

    def __post_init__(self) -> None:
        for items in (self.train, self.test, self.calibration):
            addresses: dict[str, str] = {}
            for item in items:
                if (first := addresses.setdefault(item.name, item.address)) != item.address:
                    raise DataError(f"{first} and {item.address} have the same name {item.name!r}; rename one of them")
        if len({item.is_video for item in (*self.train, *self.test, *self.calibration)}) > 1:
            raise DataError(f"{self.root}: images and videos in one dataset; expected only images or only videos")

    @property
    def is_video(self) -> bool:
        """Whether the items are videos."""
        return any(item.is_video for items in (self.train, self.test, self.calibration) for item in items[:1])

    def fingerprint(self, split: Literal["train", "test", "all"] = "all") -> str:
        """Return the sha256 of the name, content, labels, and masks of all items in a split.

        "train" includes calibration. The value does not depend on where the files are stored. Reads every file.
        """
        items = [("train", item) for item in self.train if split != "test"]
        items += [("calibration", item) for item in self.calibration if split != "test"]
        items += [("test", item) for item in self.test if split != "train"]
        paths = [item.path for _, item in items] + [item.masks.path for _, item in items if item.masks is not None]
        contents = hash_contents(paths)
        digest = hashlib.sha256()
        for role, item in items:
            masks = "none" if item.masks is None else f"{contents[item.masks.path]}:{item.masks.key}"
            line = (role, item.name, contents[item.path], _labels(item), masks)
            digest.update(("\0".join(line) + "\n").encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def with_pages(self) -> Dataset:
        """Return the dataset with one item per page or frame of files that have several; see `expand_pages`."""
        train, test, calibration = map(expand_pages, (self.train, self.test, self.calibration))
        return replace(self, train=train, test=test, calibration=calibration)

    def with_group_by(self, group_by: str | None) -> Dataset:
        """Return the dataset with the group of every item set.

        group_by: None (each item is its own group), "folder" (the folder that contains the item), or a regular
        expression that is searched in the path relative to the root; its first matching (...), or else the whole match,
        is the group. A dataset with a split keeps the groups that the split used. No group is shared by training and
        calibration: the calibration items of such a group are used for training, which is logged.
        Raises DataError if the expression is invalid or does not match every item.
        """
        if self.split is not None:
            return self
        if group_by is None:
            return self._with_separate_groups()

        def group(items: tuple[Item, ...]) -> tuple[Item, ...]:
            return tuple(replace(item, group=match_group(item.path, self.root, group_by)) for item in items)

        train, test, calibration = map(group, (self.train, self.test, self.calibration))
        return replace(self, train=train, test=test, calibration=calibration)._with_separate_groups()

    def _with_separate_groups(self) -> Dataset:
        groups = {item.group for item in self.train} - {None}
        moved = tuple(item for item in self.calibration if item.group in groups)
        if not moved:
            return self
        calibration = tuple(item for item in self.calibration if item.group not in groups)
        names = dict.fromkeys(str(item.group) for item in moved)
        log.warning(
            "%s: %s in training and calibration (%s): %s of calibration %s for training, so that no group is in both%s",
            self.root,
            "1 group is" if len(names) == 1 else f"{len(names):,} groups are",
            name_some(names),
            counted(len(moved), "video" if self.is_video else "image"),
            "is used" if len(moved) == 1 else "are used",
            "" if calibration else "; none is left, so that training data is held out instead",
        )
        return replace(self, train=(*self.train, *moved), calibration=calibration)


def count_by_folder(items: Iterable[Item]) -> dict[str, int]:
    """Return folder (or IDX file) -> number of items in it, naturally sorted."""
    counts = Counter(item.path.parent for item in items)
    return {str(folder): counts[folder] for folder in sorted(counts, key=natural_key)}


def _labels(item: Item) -> str:
    if item.label is not None:
        return f"{item.label} {item.class_name}"
    return "none" if item.frame_labels is None else hashlib.sha256(item.frame_labels.tobytes()).hexdigest()


def hash_contents(paths: Iterable[Path]) -> dict[Path, str]:
    """Return path -> sha256 of a file or an image in an IDX file; for a folder, of its files' names and contents.

    The value is "unreadable" for a file that is missing or cannot be read, because datasets may contain such files.
    """
    files_of = {path: _list_files(path) for path in dict.fromkeys(paths)}
    all_files = list(dict.fromkeys(file for files in files_of.values() for file in files))
    with ThreadPoolExecutor(_READERS) as pool:
        hashes = dict(zip(all_files, pool.map(_hash_file, all_files), strict=True))
    return {
        path: hashes[path] if files == [path] else _hash_folder((file.name, hashes[file]) for file in files)
        for path, files in files_of.items()
    }


def _list_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = (file for file in path.iterdir() if not file.name.startswith(".") and file.is_file())
    return sorted(files, key=natural_key)


def _hash_file(path: Path) -> str:
    try:
        if parse_address(path) is not None:
            return hashlib.sha256(pixel_bytes(path)).hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ImageError):
        return UNREADABLE


def _hash_folder(contents: Iterable[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for name, content in contents:
        digest.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def match_group(path: Path, root: Path, group_by: str) -> str:
    """Return the group of an item; see `Dataset.with_group_by`."""
    if group_by == "folder":
        return path.parent.as_posix()
    name = (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
    try:
        match = re.search(group_by, name)
    except re.error as error:
        raise DataError(f"--group-by {group_by!r}: expected 'folder' or a regular expression ({error})") from None
    group: str | None = next(filter(None, (*match.groups(), match[0])), None) if match else None
    if group is None:
        raise DataError(
            f"--group-by {group_by!r} does not match {name}: expected an expression that matches every path; its first "
            "(...) is the session, lot, or camera"
        )
    return group


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was skipped, and why."""

    path: Path
    reason: str  # for people, with the path
    kind: str = "unreadable file"  # the reason in a few words, to count by; singular

    @property
    def is_failure(self) -> bool:
        """Whether it may have been meant to be read, unlike hidden files and copies."""
        return self.kind not in ("copy", "mask", "hidden file", "hidden folder", "unused image", "unused video")


class Layout(Protocol):
    """How a dataset is stored on disk.

    A layout whose categories are classes, any of which can be the normal one, also has `categories_are_classes = True`.
    A layout of class folders of clips is a `ClassLayout`.
    """

    tree: str  # the expected folder tree, as text for people
    source: str  # where to get such data
    license: str  # license of the data

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder has this layout."""
        ...

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Return the names of the categories in the folder; empty if the folder is itself one category."""
        ...

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset of one category; DataError if the tree is not as expected."""
        ...


class ClassLayout(Layout, Protocol):
    """A layout of clips of several classes; the user chooses which classes are normal."""

    default_classes: ClassChoice | None  # used if the user names no class; None: the user must name one

    @staticmethod
    def clips(root: Path) -> tuple[Item, ...]:
        """Return every clip with its class, and with its original as group; DataError if there is no clip."""
        ...


def is_class_layout(layout: Layout) -> TypeGuard[ClassLayout]:
    """Whether a layout contains class folders of clips."""
    return hasattr(layout, "clips")
