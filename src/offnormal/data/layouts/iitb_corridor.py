"""IITB Corridor as published: one folder per video, and one .npy of frame labels per test video."""

from __future__ import annotations

import re
from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.frame_labels import read_labels
from offnormal.data.layouts.categories import SingleCategoryLayout, reject_category
from offnormal.data.layouts.labeled import subfolders
from offnormal.errors import DataError
from offnormal.sources.paths import videos_below
from offnormal.types import Item

_LABELS = ("annotation", "groundtruth")


class IitbCorridorLayout(SingleCategoryLayout):
    """`Train_IITB_Corridor/Train`, `Test_IITB-Corridor/Test`, and `Test_Annotation/Annotation`, together or unpacked.

    The video of a folder, or its frames, are named after the folder.
    """

    tree = (
        "[Train_IITB_Corridor/]Train/000001/000001.avi  [Test_IITB-Corridor/]Test/000209/000209.avi  "
        "[Test_IITB-Corridor/Test_Annotation/]Annotation/000209/000209.npy"
    )
    source = "IITB Corridor, https://rodrigues-royston.github.io/Multi-timescale_Trajectory_Prediction/"
    license = "for research only; cite Rodrigues et al., WACV 2020"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether there are a folder of test videos with numbers as names, and a folder of their labels."""
        labels, test = _folder(root, _LABELS), _folder(root, ("test", "testing"))
        if labels is None or test is None:
            return False
        folders = [folder.name for folder in subfolders(test)]
        return any(name.isdecimal() and _label_file(labels, name) is not None for name in folders)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset; DataError for a category, or if the tree or a label file is not as expected."""
        reject_category(category, "iitb_corridor")
        labels, test = _folder(root, _LABELS), _folder(root, ("test", "testing"))
        if labels is None or test is None:
            raise DataError(f"{root}: not the iitb_corridor layout; expected {IitbCorridorLayout.tree}")
        train = _folder(root, ("train", "training"))
        return Dataset(
            name=root.resolve().name,
            layout="iitb_corridor",
            root=root,
            train=tuple(_item(path, None) for path in (videos_below(train) if train is not None else ())),
            test=tuple(_item(path, labels) for path in videos_below(test)),
        )


def _folder(root: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first folder with one of these names, up to three levels deep in folders named as published."""
    level = [root]
    for _ in range(3):
        inner = [folder for parent in level for folder in subfolders(parent)]
        if match := next((folder for folder in inner if folder.name.casefold() in names), None):
            return match
        level = [folder for folder in inner if re.search("iitb|annotation", folder.name, re.IGNORECASE)]
    return None


def _label_file(labels: Path, name: str) -> Path | None:
    return next((path for path in (labels / name / f"{name}.npy", labels / f"{name}.npy") if path.is_file()), None)


def _item(path: Path, labels: Path | None) -> Item:
    name = path.name if path.is_dir() else path.stem
    if labels is None:
        return Item(address=str(path), is_video=True, name=name)
    file = _label_file(labels, name)
    if file is None:
        raise DataError(f"{path}: no labels; expected {labels / name / name}.npy")
    return Item(address=str(path), is_video=True, name=name, frame_labels=read_labels(file, path))
