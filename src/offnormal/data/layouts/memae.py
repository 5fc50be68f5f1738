"""The form in which MemAE's published code keeps UCSD and other sets: `Train/Video001`, `Test_gt/Video001.mat`."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.frame_labels import checked, memae_labels
from offnormal.data.layouts.categories import one_category, sets_in
from offnormal.data.layouts.clips import clip_folders, has_clips, video_items
from offnormal.errors import DataError
from offnormal.types import Item

_CLIPS = r"Video\d+"


class MemaeLayout:
    """`Train/VideoNNN`, `Test/VideoNNN`, `Test_gt/VideoNNN.mat`; one dataset or a folder of them.

    `Train_idx` and `Test_idx` are not needed: clips are cut anew from the frames.
    """

    tree = "Train/Video001/001.jpg  Test/Video001/001.jpg  [Test_gt/Video001.mat with `l`, one 0 or 1 a frame]"
    source = "sets prepared for MemAE's published code, https://github.com/donggong1/memae-anomaly-detection"
    license = "that of the set it was made from"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether `Train/Video001` or `Test/Video001` lies in the folder or in a folder in it."""
        return _is_set(root) or bool(MemaeLayout.categories(root))

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Names of the datasets in the folder; empty when it is one itself."""
        return sets_in(root, _is_set)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """The dataset of one category; DataError when the tree or a label file is not as expected."""
        folder, category = one_category(root, category, MemaeLayout.categories(root))
        if not _is_set(folder):
            raise DataError(f"{folder}: expected the tree {MemaeLayout.tree}")
        clips = clip_folders(folder / "Test", _CLIPS)
        return Dataset(
            name=category or folder.resolve().name,
            layout="memae",
            root=folder,
            category=category,
            train=video_items(clip_folders(folder / "Train", _CLIPS)),
            test=tuple(_labeled(clip, folder / "Test_gt") for clip in clips),
        )


def _is_set(folder: Path) -> bool:
    return has_clips(folder / "Train", _CLIPS) or has_clips(folder / "Test", _CLIPS)


def _labeled(clip: Path, labels: Path) -> Item:
    if not labels.is_dir():
        return Item(address=str(clip), is_video=True, name=clip.name)
    file = labels / f"{clip.name}.mat"
    return Item(
        address=str(clip), is_video=True, name=clip.name, frame_labels=checked(memae_labels(file), clip, str(file))
    )
