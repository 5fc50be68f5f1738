"""The folder tree of GANomaly's published code: `train/0.normal`, `test/0.normal`, `test/1.abnormal`."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import SingleCategoryLayout, reject_category
from offnormal.data.layouts.labeled import train_and_test
from offnormal.errors import DataError


class GanomalyLayout(SingleCategoryLayout):
    """`train/0.normal`, `test/0.normal`, `test/1.abnormal`, and optionally masks in `ground_truth/1.abnormal`."""

    tree = "ROOT/train/0.normal/*.png  ROOT/test/0.normal/*.png  ROOT/test/1.abnormal/*.png"
    source = "datasets prepared for GANomaly's reference code, or your own in the same tree"
    license = "the license of the images"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether `train/0.normal` or `test/0.normal` exists."""
        return (root / "train" / "0.normal").is_dir() or (root / "test" / "0.normal").is_dir()

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset; DataError for a category, or if the tree is not as expected."""
        reject_category(category, "ganomaly")
        if not GanomalyLayout.recognizes(root):
            raise DataError(f"{root}: not the ganomaly layout; expected {GanomalyLayout.tree}")
        train, test = train_and_test(root, "0.normal")
        return Dataset(name=root.resolve().name, layout="ganomaly", root=root, train=train, test=test)
