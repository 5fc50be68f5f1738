"""The tree of GANomaly's published code: `train/0.normal`, `test/0.normal`, `test/1.abnormal`."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import OneDataset, refuse_category
from offnormal.data.layouts.labeled import train_and_test
from offnormal.errors import DataError


class GanomalyLayout(OneDataset):
    """`train/0.normal`, `test/0.normal`, `test/1.abnormal`; masks in `ground_truth/1.abnormal` where there are any."""

    tree = "ROOT/train/0.normal/*.png  ROOT/test/0.normal/*.png  ROOT/test/1.abnormal/*.png"
    source = "sets prepared for GANomaly's reference code, or your own in the same tree"
    license = "that of the pictures"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether `train/0.normal` or `test/0.normal` exists."""
        return (root / "train" / "0.normal").is_dir() or (root / "test" / "0.normal").is_dir()

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """The dataset; DataError when the tree is not as expected or a category is asked for."""
        refuse_category(category, "ganomaly")
        if not GanomalyLayout.recognizes(root):
            raise DataError(f"{root}: expected the tree {GanomalyLayout.tree}")
        train, test = train_and_test(root, "0.normal")
        return Dataset(name=root.resolve().name, layout="ganomaly", root=root, train=train, test=test)
