"""The folder tree of GANomaly's published code: `train/0.normal`, `test/0.normal`, `test/1.abnormal`."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import reject_category
from offnormal.data.layouts.split_tree import SplitTreeLayout


class GanomalyLayout(SplitTreeLayout):
    """`train/0.normal`, `test/0.normal`, `test/1.abnormal`, and optionally masks in `ground_truth/1.abnormal`."""

    name = "ganomaly"
    tree = "ROOT/train/0.normal/*.png  ROOT/test/0.normal/*.png  ROOT/test/1.abnormal/*.png"
    source = "datasets prepared for GANomaly's reference code, or your own in the same tree"
    license = "the license of the images"
    normal = "0.normal"
    markers = (("train", "0.normal"), ("test", "0.normal"))

    @classmethod
    def categories(cls, root: Path) -> list[str]:
        """Return an empty list: the tree is one category."""
        return []

    @classmethod
    def read(cls, root: Path, category: str | None = None) -> Dataset:
        """Return the dataset; DataError for a category, or if the tree is not as expected."""
        reject_category(category, cls.name)
        return super().read(root)
