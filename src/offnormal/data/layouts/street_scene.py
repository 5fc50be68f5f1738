"""Street Scene as published: clips as folders of frames, and a file of boxes in each test clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from offnormal.data.box_masks import read_boxes
from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import SingleCategoryLayout, reject_category
from offnormal.data.layouts.clips import clip_folders, inner_folder, video_items
from offnormal.errors import DataError
from offnormal.sources.video_index import count_frames
from offnormal.types import Item, MaskSource

_TRAIN, _TEST = r"Train\d+", r"Test\d+"


class StreetSceneLayout(SingleCategoryLayout):
    """`Train/Train001`, `Test/Test001`, and the boxes of the anomalous objects in `Test001_gt.txt`.

    A frame is anomalous if it has a box; the boxes are the masks. See `data.box_masks`.
    """

    tree = "Train/Train001/000001.jpg  Test/Test001/000001.jpg  Test/Test001/Test001_gt.txt"
    source = "Street Scene, https://www.merl.com/research/downloads/StreetScene"
    license = "CC BY-SA 4.0; cite Ramachandra and Jones, WACV 2020"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder, or `StreetScene` in it, contains test clips with files of boxes."""
        return any(
            _box_file(clip) is not None for clip in clip_folders(inner_folder(root, "StreetScene") / "Test", _TEST)
        )

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset; DataError for a category, or if the tree or a file of boxes is not as expected."""
        reject_category(category, "street_scene")
        folder = inner_folder(root, "StreetScene")
        train, test = clip_folders(folder / "Train", _TRAIN), clip_folders(folder / "Test", _TEST)
        if not train and not test:
            raise DataError(f"{root}: not the street_scene layout; expected {StreetSceneLayout.tree}")
        return Dataset(
            name=root.resolve().name,
            layout="street_scene",
            root=folder,
            train=video_items(train),
            test=tuple(_labeled(clip) for clip in test),
        )


def _box_file(clip: Path) -> Path | None:
    name = f"{clip.name}_gt.txt"
    return next((path for path in (clip / name, clip.with_name(name)) if path.is_file()), None)


def _labeled(clip: Path) -> Item:
    file = _box_file(clip)
    if file is None:
        raise DataError(f"{clip}: no boxes; expected {clip / clip.name}_gt.txt, empty if the clip is normal")
    labels = np.zeros(count_frames(clip), dtype=np.uint8)
    labels[list(read_boxes(file, clip))] = 1
    return Item(address=str(clip), is_video=True, name=clip.name, frame_labels=labels, masks=MaskSource(path=file))
