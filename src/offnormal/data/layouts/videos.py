"""Your own videos: training and test folders, with optional labels and masks."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Literal

from offnormal.data.dataset import Dataset
from offnormal.data.folder_words import meanings_of
from offnormal.data.layouts.categories import CategoryLayout, select_category
from offnormal.data.layouts.clips import relative_names
from offnormal.data.layouts.labeled import subfolders
from offnormal.data.layouts.video_truth import GroundTruth, says_truth
from offnormal.data.plain_tree import check_plain
from offnormal.errors import DataError, ImageError, counted, name_some
from offnormal.sources.image import image_size
from offnormal.sources.paths import VIDEO_SUFFIXES, images_in, is_frame_folder, is_video, videos_below, videos_in
from offnormal.types import Item

log = logging.getLogger(__name__)


class VideosLayout(CategoryLayout):
    """`train` and `test` folders of video files or folders of frames, or a single folder of normal videos.

    Videos in subfolders are named `subfolder/name`. See `video_truth` for labels and masks.
    """

    name = "videos"
    tree = (
        "train/*.mp4  [test/*.mp4]  [labels/<video>.npy|.csv|.txt, or next to the video, or gt.npz]  "
        "[masks/<video>.npy|.npz, or masks/<video>/*.png]; any video format, or folders of frames"
    )
    source = "your own videos"
    license = "yours"

    @classmethod
    def is_category(cls, folder: Path) -> bool:
        """Whether train or test contains videos.

        If there are only folders of frames, their images must be numbered without gaps and of one size, unlike
        unrelated images.
        """
        return _is_dataset(folder)

    @classmethod
    def recognizes(cls, root: Path) -> bool:
        """Whether the folder or a subfolder has train or test videos, or the folder contains videos but no images."""
        return super().recognizes(root) or _is_plain(root)

    @staticmethod
    def read(root: Path, category: str | None = None, *, is_checked: bool = True) -> Dataset:
        """Return the dataset of one category; errors as in `from_videos`."""
        folder, category = select_category(root, category, VideosLayout.categories(root))
        train, test = _find_folder(folder, "train"), _find_folder(folder, "test")
        if train is None and test is None:
            train = folder
        else:
            _warn_of_others(folder, train, test)
        dataset = from_videos(train=train, test=test, root=folder, category=category, is_checked=is_checked)
        items = (*dataset.train, *dataset.test)
        if is_checked and all(item.path.is_dir() for item in items):
            words = [f"--{flag} {path}" for flag, path in (("normal", train), ("test", test)) if path is not None]
            log.warning(
                "%s: numbered images are read as frames: %s, such as %s; if each image is an item of its own: %s; "
                "--layout videos omits this warning",
                folder,
                counted(len(items), "video"),
                items[0].name,
                " ".join(words),
            )
        return dataset


def from_videos(
    *,
    train: Path | None = None,
    test: Path | None = None,
    root: Path | None = None,
    category: str | None = None,
    is_checked: bool = True,
) -> Dataset:
    """Return a dataset from folders of videos, single video files, or single folders of frames.

    is_checked: refuse a training folder that contains more than normal videos by the names in it.
    Raises DataError for a folder without videos, a mixed training folder, and labels or masks that do not match.
    """
    root = root or train or test
    if root is None:
        raise DataError("no data; expected a folder of videos, or a video")
    train_videos = _list_videos(train) if train is not None else {}
    if train is not None and train.is_dir():
        check_plain(train, [path for path in train_videos.values() if path != train], refuse=is_checked)
    test_videos = _list_videos(test) if test is not None else {}
    truth = GroundTruth.find(test) if test is not None else None
    return Dataset(
        name=category or (root.stem if root.is_file() else root.resolve().name),
        layout="videos",
        root=root if root.is_dir() else root.parent,
        category=category,
        train=tuple(Item(address=str(path), is_video=True, name=name) for name, path in train_videos.items()),
        test=truth.videos(test_videos) if truth is not None else (),
        skipped=truth.unused(test_videos) if truth is not None else (),
    )


def _list_videos(path: Path) -> dict[str, Path]:
    """Return name -> video; see `relative_names`."""
    if is_video(path) or is_frame_folder(path):
        return {path.resolve().name if path.is_dir() else path.stem: path}
    videos = [video for video in videos_below(path) if not says_truth(video.relative_to(path).parts[0])]
    if not videos:
        raise DataError(
            f"{path}: no videos; expected video files ({', '.join(sorted(VIDEO_SUFFIXES)[:8])}, ...) or folders of "
            "numbered images"
        )
    return {name: video for video, name in relative_names(path, videos).items()}


def _warn_of_others(root: Path, train: Path | None, test: Path | None) -> None:
    """Name folders with videos that are neither training nor test videos."""
    others = [folder for folder in subfolders(root) if folder not in (train, test)]
    if names := [folder.name for folder in others if videos_in(folder, recursive=True)]:
        log.warning("%s: not used, because the name says neither train nor test: %s", root, name_some(names))


def _find_folder(root: Path, role: Literal["train", "test"]) -> Path | None:
    matches = _folders(root, role)
    if len(matches) > 1:
        raise DataError(f"{root}: {' and '.join(path.name for path in matches)} mean the same; expected only one")
    return matches[0] if matches else None


def _folders(root: Path, role: Literal["train", "test"]) -> list[Path]:
    """Return the folders that say train or test; `normal` says train unless others say anomalous."""
    says = {folder: meanings_of(folder.name, whole=True) for folder in subfolders(root)}
    if role == "test" or not any("anomalous" in meanings_of(folder.name) for folder in says):
        return [folder for folder, words in says.items() if role in words or (words == ["normal"] and role == "train")]
    return [folder for folder, words in says.items() if role in words]


def _is_dataset(root: Path) -> bool:
    folders = [*_folders(root, "train"), *_folders(root, "test")]
    if any(videos_in(folder, recursive=True) for folder in folders):
        return True
    splits = [folder for folder in folders if meanings_of(folder.name) != ["normal"]]
    clips = [clip for folder in splits for clip in videos_below(folder)]
    return bool(clips) and all(map(_is_sequence, clips))


def _is_sequence(clip: Path) -> bool:
    if meanings_of(clip.name):
        return False
    images = images_in(clip, recursive=False)
    matches = [re.search(r"(\d+)$", path.stem) for path in images]
    numbers = [int(match[1]) for match in matches if match]
    is_complete = len(numbers) > 1 and len(numbers) == len(matches)
    if not is_complete or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return False
    try:
        return len({image_size(images[index]) for index in (0, len(images) // 2, -1)}) == 1
    except ImageError:
        return True  # reported when its frames are read


def _is_plain(root: Path) -> bool:
    videos = videos_in(root, recursive=True)
    folders = {folder for path in videos for folder in path.relative_to(root).parts[:-1]}
    words = {word for folder in folders for word in meanings_of(folder, whole=True)}
    return bool(videos) and words.isdisjoint(("train", "test")) and not images_in(root)
