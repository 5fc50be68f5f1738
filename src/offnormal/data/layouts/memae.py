"""The format of UCSD and other datasets in MemAE's published code: `Train/Video001`, `Test_gt/Video001.mat`."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.frame_labels import check_label_count, memae_labels
from offnormal.data.layouts.categories import list_categories, select_category
from offnormal.data.layouts.clips import clip_folders, has_clips, video_items
from offnormal.errors import DataError
from offnormal.types import Item

_CLIPS = r"Video\d+"


class MemaeLayout:
    """`Train/VideoNNN`, `Test/VideoNNN`, `Test_gt/VideoNNN.mat`; one dataset or a folder of datasets.

    `Train_idx` and `Test_idx` are not used: clips are made from the frames.
    """

    tree = "Train/Video001/001.jpg  Test/Video001/001.jpg  [Test_gt/Video001.mat with `l`, one 0 or 1 per frame]"
    source = "datasets prepared for MemAE's published code, https://github.com/donggong1/memae-anomaly-detection"
    license = "the license of the original dataset"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder or one of its subfolders contains `Train/Video001` or `Test/Video001`."""
        return _is_dataset(root) or bool(MemaeLayout.categories(root))

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Return the names of the datasets in the folder; empty if it is itself one."""
        return list_categories(root, _is_dataset)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset of one category; DataError if the tree or a label file is not as expected."""
        folder, category = select_category(root, category, MemaeLayout.categories(root))
        if not _is_dataset(folder):
            raise DataError(f"{folder}: not the memae layout; expected {MemaeLayout.tree}")
        clips = clip_folders(folder / "Test", _CLIPS)
        return Dataset(
            name=category or folder.resolve().name,
            layout="memae",
            root=folder,
            category=category,
            train=video_items(clip_folders(folder / "Train", _CLIPS)),
            test=tuple(_labeled(clip, folder / "Test_gt") for clip in clips),
        )


def _is_dataset(folder: Path) -> bool:
    return has_clips(folder / "Train", _CLIPS) or has_clips(folder / "Test", _CLIPS)


def _labeled(clip: Path, labels: Path) -> Item:
    if not labels.is_dir():
        return Item(address=str(clip), is_video=True, name=clip.name)
    file = labels / f"{clip.name}.mat"
    return Item(
        address=str(clip),
        is_video=True,
        name=clip.name,
        frame_labels=check_label_count(memae_labels(file), clip, str(file)),
    )
