"""MVTec AD and everything published in its form (VisA as converted, BTAD-like sets, magnetic tiles, your own)."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import one_category, sets_in
from offnormal.data.layouts.labeled import train_and_test
from offnormal.errors import DataError


class MvtecLayout:
    """`train/good`, `test/<defect>`, `ground_truth/<defect>/NNN_mask.png`; one category or a folder of them."""

    tree = "CATEGORY/train/good/*.png  CATEGORY/test/<good|defect>/*.png  [CATEGORY/ground_truth/<defect>/*_mask.png]"
    source = "MVTec AD, https://www.mvtec.com/company/research/datasets/mvtec-ad, or your own parts in the same tree"
    license = "CC BY-NC-SA 4.0 (MVTec AD)"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder, or a folder in it, has `train/good` or labeled `test` folders beside it."""
        return _is_category(root) or bool(MvtecLayout.categories(root))

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Names of the category folders; empty when the folder is one category itself."""
        return sets_in(root, _is_category)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """The dataset of one category; DataError when there is no `train/good` and no `test`."""
        folder, category = one_category(root, category, MvtecLayout.categories(root))
        if not _is_category(folder):
            raise DataError(f"{folder}: expected train/good with normal pictures; the tree is {MvtecLayout.tree}")
        train, test = train_and_test(folder, "good")
        return Dataset(
            name=category or folder.resolve().name,
            layout="mvtec",
            root=folder,
            category=category,
            train=train,
            test=test,
        )


def _is_category(folder: Path) -> bool:
    return (folder / "train" / "good").is_dir() or (folder / "test" / "good").is_dir()
