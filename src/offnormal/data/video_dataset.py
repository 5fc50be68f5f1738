"""A data set of videos: which are normal and for learning, which are for testing, with labels, masks and groups."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from offnormal.data.class_split import Split
from offnormal.data.dataset import READERS, content_hash, group_of
from offnormal.errors import DataError
from offnormal.sources.paths import natural_key
from offnormal.types import Video


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoDataset:
    """Training videos of normal life and labelled (or unlabelled) test videos of one category."""

    name: str
    layout: str
    root: Path
    category: str | None = None
    train: tuple[Video, ...] = ()  # normal only
    test: tuple[Video, ...] = ()
    validation: tuple[Video, ...] = ()  # normal: kept back from learning for the threshold; (): the fit chooses some
    split: Split | None = None  # how clips of several classes were divided; None: the data set says itself

    def __post_init__(self) -> None:
        for part in (self.train, self.test, self.validation):
            known: dict[str, Path] = {}
            for video in part:
                if (other := known.setdefault(video.name, video.path)) != video.path:
                    raise DataError(f"{other} and {video.path} are both called {video.name!r}; rename one of them")

    def fingerprint(self, part: Literal["train", "test", "all"] = "all") -> str:
        """sha256 over the name, content, labels and masks of every video of a part.

        The same files give the same value wherever they lie. Reads every file of the part.
        """
        videos = [("train", video) for video in self.train if part != "test"]
        videos += [("validation", video) for video in self.validation if part != "test"]
        videos += [("test", video) for video in self.test if part != "train"]
        contents = content_of(path for _, video in videos for path in _paths(video))
        digest = hashlib.sha256()
        for role, video in videos:
            labels = "none" if video.labels is None else hashlib.sha256(video.labels.tobytes()).hexdigest()
            labels = labels if video.label is None else f"{video.label} {video.action}"
            masks = "none" if video.masks is None else f"{contents[video.masks.path]}:{video.masks.key}"
            line = (role, video.name, contents[video.path], labels, masks)
            digest.update(("\0".join(line) + "\n").encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def contents(self) -> list[str]:
        """First 16 characters of the sha256 of every training video, sorted: to notice them elsewhere.

        Those kept back for validation count, too.
        """
        return content_prefixes([*self.train, *self.validation])

    def grouped(self, group_by: str | None) -> VideoDataset:
        """The same data set with every video's group set, as `Dataset.grouped` does it for pictures.

        Without a group a video is one of its own: no video is ever split.
        """
        if group_by is None or self.split is not None:  # which was made by groups
            return self

        def group(videos: tuple[Video, ...]) -> tuple[Video, ...]:
            return tuple(replace(video, group=group_of(video.path, self.root, group_by)) for video in videos)

        return replace(self, train=group(self.train), test=group(self.test))


def content_prefixes(videos: Iterable[Video]) -> list[str]:
    """First 16 characters of the sha256 of each video, sorted."""
    return sorted(found[:16] for found in content_of(video.path for video in videos).values())


def _paths(video: Video) -> list[Path]:
    return [video.path] if video.masks is None else [video.path, video.masks.path]


def content_of(paths: Iterable[Path]) -> dict[Path, str]:
    """Path -> sha256; that of a folder is over the names and the contents of the files in it."""
    files = {path: _files(path) for path in dict.fromkeys(paths)}
    every = list(dict.fromkeys(file for inside in files.values() for file in inside))
    with ThreadPoolExecutor(READERS) as pool:
        hashes = dict(zip(every, pool.map(content_hash, every), strict=True))
    return {
        path: hashes[path] if inside == [path] else _together((file.name, hashes[file]) for file in inside)
        for path, inside in files.items()
    }


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    inside = (file for file in path.iterdir() if not file.name.startswith(".") and file.is_file())
    return sorted(inside, key=natural_key)


def _together(named: Iterable[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for name, content in named:
        digest.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
