"""Your own videos: a folder to learn from and one to test on, with labels and masks if there are any."""

from __future__ import annotations

import re
from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import one_category, sets_in
from offnormal.data.layouts.clips import names_below
from offnormal.data.layouts.labeled import NORMAL_NAMES, subfolders
from offnormal.data.layouts.video_truth import TRUTH_FOLDERS, Truth
from offnormal.errors import DataError
from offnormal.sources.paths import VIDEO_SUFFIXES, images_in, is_frame_folder, is_video, videos_below, videos_in
from offnormal.types import Item

_TRAIN = ("train", "training", "normal")
_TEST = ("test", "testing", "eval", "evaluation")


class VideosLayout:
    """`train` and `test` folders of video files or folders of frames, or one folder of normal videos alone.

    Videos may lie in subfolders, and are then called `subfolder/name`. See `video_truth` for labels and masks.
    """

    tree = (
        "train/*.mp4  [test/*.mp4]  [labels/<video>.npy|.csv|.txt, or beside the video, or gt.npz]  "
        "[masks/<video>.npy|.npz, or masks/<video>/*.png]; any video format, or folders of frames"
    )
    source = "your own videos"
    license = "yours"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether there are videos in train or test, also one folder down, or videos and no picture in the folder.

        Folders of frames alone count when their pictures are numbered without a gap, unlike sorted pictures.
        """
        return _is_set(root) or bool(VideosLayout.categories(root)) or _is_plain(root)

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Names of the folders with a train or test folder of videos each; empty when the folder is one itself."""
        return sets_in(root, _is_set)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """The dataset of one category; DataError for an empty tree and for labels or masks that do not fit."""
        folder, category = one_category(root, category, VideosLayout.categories(root))
        train, test = _part(folder, _TRAIN), _part(folder, _TEST)
        if train is None and test is None:
            train = folder
        return from_videos(train=train, test=test, root=folder, category=category)


def from_videos(
    *, train: Path | None = None, test: Path | None = None, root: Path | None = None, category: str | None = None
) -> Dataset:
    """A dataset from folders of videos, single video files, or single folders of frames.

    Raises DataError for one that holds no video, and for labels or masks that do not fit.
    """
    root = root or train or test
    if root is None:
        raise DataError("no data: expected a folder of videos, or one video")
    training = _named(train) if train is not None else {}
    tested = _named(test) if test is not None else {}
    return Dataset(
        name=category or (root.stem if root.is_file() else root.resolve().name),
        layout="videos",
        root=root if root.is_dir() else root.parent,
        category=category,
        train=tuple(Item(address=str(path), is_video=True, name=name) for name, path in training.items()),
        test=Truth.near(test).videos(tested) if test is not None else (),
    )


def _named(place: Path) -> dict[str, Path]:
    """Name -> video: its path below the place without suffix, or with it where two would be called the same."""
    if is_video(place) or is_frame_folder(place):
        return {place.resolve().name if place.is_dir() else place.stem: place}
    found = [path for path in videos_below(place) if path.relative_to(place).parts[0] not in TRUTH_FOLDERS]
    if not found:
        raise DataError(
            f"{place}: no video in it; expected video files ({', '.join(sorted(VIDEO_SUFFIXES)[:8])}, ...) or folders "
            "of numbered pictures"
        )
    return {name: path for path, name in names_below(place, found).items()}


def _part(root: Path, names: tuple[str, ...]) -> Path | None:
    found = [folder for folder in subfolders(root) if folder.name.casefold() in names]
    if len(found) > 1:
        raise DataError(f"{root}: {' and '.join(path.name for path in found)} mean the same; keep one of them")
    return found[0] if found else None


def _is_set(root: Path) -> bool:
    parts = [folder for folder in subfolders(root) if folder.name.casefold() in (*_TRAIN, *_TEST)]
    if any(videos_in(part, recursive=True) for part in parts):
        return True
    clips = [clip for part in parts if part.name.casefold() != "normal" for clip in videos_below(part)]
    return bool(clips) and all(_is_sequence(clip) for clip in clips)


def _is_sequence(clip: Path) -> bool:
    if clip.name.casefold() in NORMAL_NAMES:
        return False
    numbers = [re.search(r"(\d+)$", path.stem) for path in images_in(clip, recursive=False)]
    found = [int(number[1]) for number in numbers if number]
    return len(found) > 1 and len(found) == len(numbers) and found == list(range(found[0], found[0] + len(found)))


def _is_plain(root: Path) -> bool:
    found = videos_in(root, recursive=True)
    folders = {folder.casefold() for path in found for folder in path.relative_to(root).parts[:-1]}
    return bool(found) and not folders.intersection((*_TRAIN, *_TEST)) and not images_in(root)
