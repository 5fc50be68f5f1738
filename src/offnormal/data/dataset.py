"""A data set: which pictures are normal and for learning, which are for testing, with labels, masks and groups."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeGuard

from offnormal.errors import DataError, ImageError
from offnormal.sources import idx
from offnormal.types import Sample, Video

if TYPE_CHECKING:
    from offnormal.data.class_split import ClassChoice
    from offnormal.data.video_dataset import VideoDataset

READERS = 8  # threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Training normals and labelled (or unlabelled) test pictures of one category."""

    name: str
    layout: str
    root: Path
    category: str | None = None
    train: tuple[Sample, ...] = ()  # normal only
    test: tuple[Sample, ...] = ()

    def fingerprint(self, part: Literal["train", "test", "all"] = "all") -> str:
        """sha256 over the relative name, content and label of every picture and mask of a part.

        The same files give the same value wherever they lie. Reads every file of the part.
        """
        samples = [("train", s) for s in self.train if part != "test"]
        samples += [("test", s) for s in self.test if part != "train"]
        with ThreadPoolExecutor(READERS) as pool:
            contents = pool.map(content_hash, (path for _, s in samples for path in (s.path, s.mask)))
            digest = hashlib.sha256()
            for role, sample in samples:
                line = (role, self._short(sample.path), next(contents), next(contents), str(sample.label))
                digest.update(("\0".join(line) + "\n").encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def contents(self) -> list[str]:
        """First 16 characters of the sha256 of every training picture, sorted: to notice them elsewhere."""
        return content_hashes(s.path for s in self.train)

    def _short(self, path: Path) -> str:
        """The path below the root; of a folder elsewhere only its name and the file's."""
        inside = path.relative_to(self.root) if path.is_relative_to(self.root) else Path(*path.parts[-2:])
        return inside.as_posix()

    def grouped(self, group_by: str | None) -> Dataset:
        """The same data set with every sample's group set.

        group_by: None (no groups), "folder" (the folder that holds the picture) or a regular expression
        searched in the path relative to the root, whose first (...) that matches (or whole match) names the group.
        Raises DataError when the expression is wrong or does not match every picture.
        """
        if group_by is None:
            return self

        def group(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
            return tuple(replace(sample, group=group_of(sample.path, self.root, group_by)) for sample in samples)

        return replace(self, train=group(self.train), test=group(self.test))


def content_hashes(paths: Iterable[Path]) -> list[str]:
    """First 16 characters of the sha256 of every file, sorted."""
    with ThreadPoolExecutor(READERS) as pool:
        return sorted(found[:16] for found in pool.map(content_hash, paths))


def content_hash(path: Path | None) -> str:
    """sha256 of a file, or of a picture in an IDX file.

    A word for one that is not there or cannot be read, as a set may hold bad files.
    """
    if path is None:
        return "none"
    try:
        if (inside := idx.address(path)) is not None:
            return hashlib.sha256(idx.picture(*inside).tobytes()).hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ImageError):
        return "unreadable"


def group_of(path: Path, root: Path, group_by: str) -> str:
    """The group of a picture or video; see `Dataset.grouped`."""
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
    """A file that was left out, and why."""

    path: Path
    reason: str


class Layout(Protocol):
    """A form in which a data set lies on disk.

    One whose categories are classes, of which any may be the normal one, also has `by_class = True`; one of class
    folders of clips is a `ClassLayout`.
    """

    tree: str  # the expected tree, for people
    source: str  # where such data come from
    licence: str  # of those data

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether the folder looks like this layout."""
        ...

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Names of the categories below the folder; empty when the folder is one category itself."""
        ...

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset | VideoDataset:
        """The data set of one category; DataError when the tree is not as expected."""
        ...


class ClassLayout(Layout, Protocol):
    """A layout of clips of several classes, of which the user may say which are normal."""

    default: ClassChoice | None  # what is normal when nothing is said; None: it must be said

    @staticmethod
    def clips(root: Path) -> tuple[Video, ...]:
        """Every clip with its class and, as its group, its original; DataError where there is none."""
        ...


def is_of_classes(form: Layout) -> TypeGuard[ClassLayout]:
    """Whether a layout is one of class folders of clips."""
    return hasattr(form, "clips")
