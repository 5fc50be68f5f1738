"""The format of UCSD and other datasets in MemAE's published code: `Train/Video001`, `Test_gt/Video001.mat`."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.frame_labels import check_label_count, memae_labels
from offnormal.data.layouts.categories import CategoryLayout
from offnormal.data.layouts.clips import clip_folders, has_clips, video_items
from offnormal.types import Item

_CLIPS = r"Video\d+"


class MemaeLayout(CategoryLayout):
    """`Train/VideoNNN`, `Test/VideoNNN`, `Test_gt/VideoNNN.mat`; one dataset or a folder of datasets.

    `Train_idx` and `Test_idx` are not used: clips are made from the frames.
    """

    name = "memae"
    tree = "Train/Video001/001.jpg  Test/Video001/001.jpg  [Test_gt/Video001.mat with `l`, one 0 or 1 per frame]"
    source = "datasets prepared for MemAE's published code, https://github.com/donggong1/memae-anomaly-detection"
    license = "the license of the original dataset"

    @classmethod
    def is_category(cls, folder: Path) -> bool:
        """Whether the folder contains `Train/Video001` or `Test/Video001`."""
        return has_clips(folder / "Train", _CLIPS) or has_clips(folder / "Test", _CLIPS)

    @classmethod
    def read(cls, root: Path, category: str | None = None) -> Dataset:
        """Return the dataset of one category; DataError if the tree or a label file is not as expected."""
        folder, category = cls.select(root, category)
        clips = clip_folders(folder / "Test", _CLIPS)
        return Dataset(
            name=category or folder.resolve().name,
            layout=cls.name,
            root=folder,
            category=category,
            train=video_items(clip_folders(folder / "Train", _CLIPS)),
            test=tuple(_labeled(clip, folder / "Test_gt") for clip in clips),
        )


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
