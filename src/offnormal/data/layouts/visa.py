"""VisA as published: `Data/Images/{Normal,Anomaly}`, masks with small values, and the split in a CSV file."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import CategoryLayout
from offnormal.data.layouts.labeled import find_folder, labeled_items
from offnormal.data.layouts.ok_ng import warn_no_split
from offnormal.errors import DataError, counted
from offnormal.types import Item

log = logging.getLogger(__name__)

_SPLIT = "split_csv/1cls.csv"
_COLUMNS = {"object", "split", "label", "image", "mask"}


class VisaLayout(CategoryLayout):
    """`CATEGORY/Data/Images/{Normal,Anomaly}`, `CATEGORY/Data/Masks/Anomaly`, and `split_csv/1cls.csv`.

    Without the CSV file, every normal image is used for training, and the test images are all anomalous. In masks,
    every value above 0 is a defect.
    """

    name = "visa"
    tree = (
        "CATEGORY/Data/Images/<Normal|Anomaly>/*.JPG  CATEGORY/Data/Masks/Anomaly/*.png  [split_csv/1cls.csv]; if it "
        "was converted to the tree of MVTec AD: mvtec"
    )
    source = "VisA, https://github.com/amazon-science/spot-diff"
    license = "CC BY 4.0"

    @classmethod
    def is_category(cls, folder: Path) -> bool:
        """Whether the folder contains `Data/Images/Normal` or `Data/Images/Anomaly`."""
        return any(find_folder(folder, "Data", "Images", name) for name in ("Normal", "Anomaly"))

    @classmethod
    def read(cls, root: Path, category: str | None = None) -> Dataset:
        """Return the dataset of one category; DataError if the tree or the split is not as expected."""
        folder, category = cls.select(root, category)
        images, masks = find_folder(folder, "Data", "Images"), find_folder(folder, "Data", "Masks")
        name = category or folder.resolve().name
        items = () if images is None else labeled_items(images, masks, folder)
        rows = _read_split(folder.resolve().parent / _SPLIT, name)
        if rows:
            train, test = _split(folder, items, rows)
        else:
            warn_no_split(folder)
            train, test = [item for item in items if not item.label], [item for item in items if item.label]
        return Dataset(name=name, layout=cls.name, root=folder, category=category, train=tuple(train), test=tuple(test))


def _read_split(file: Path, category: str) -> dict[str, str]:
    """Return image (below the category) -> split; empty without a file, or without rows of the category."""
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened)
        if not set(reader.fieldnames or ()) >= _COLUMNS:
            raise DataError(f"{file}: columns {', '.join(reader.fieldnames or ())}; expected {', '.join(_COLUMNS)}")
        rows = [row for row in reader if row["object"] == category]
    splits = {row["image"].partition("/")[2]: row["split"] for row in rows}
    if other := set(splits.values()) - {"train", "test"}:
        raise DataError(f"{file}: split {min(other)!r}; expected train or test")
    return splits


def _split(folder: Path, items: tuple[Item, ...], splits: dict[str, str]) -> tuple[list[Item], list[Item]]:
    """Return the items of train and test; DataError for an image of the split that is missing."""
    by_name = {item.name: item for item in items}
    if missing := [name for name in splits if name not in by_name]:
        raise DataError(
            f"{folder}: {counted(len(missing), 'image')} of {_SPLIT} missing, such as {missing[0]}; download them again"
        )
    train = [by_name[name] for name, split in splits.items() if split == "train"]
    if anomalous := [item.name for item in train if item.label]:
        raise DataError(f"{_SPLIT}: the anomalous image {anomalous[0]} is in train; expected the split 1cls")
    if unused := len(by_name) - len(splits):
        log.warning("%s: %s not in %s, which are not used", folder, counted(unused, "image"), _SPLIT)
    return train, [by_name[name] for name, split in splits.items() if split == "test"]
