"""MVTec AD and datasets in its format (converted VisA, datasets like BTAD, magnetic tiles, your own)."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import list_categories, select_category
from offnormal.data.layouts.labeled import train_and_test
from offnormal.errors import DataError


class MvtecLayout:
    """`train/good`, `test/<defect>`, `ground_truth/<defect>/NNN_mask.png`; one category or a folder of categories."""

    tree = "CATEGORY/train/good/*.png  CATEGORY/test/<good|defect>/*.png  [CATEGORY/ground_truth/<defect>/*_mask.png]"
    source = "MVTec AD, https://www.mvtec.com/company/research/datasets/mvtec-ad, or your own parts in the same tree"
    license = "CC BY-NC-SA 4.0 (MVTec AD)"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder or one of its subfolders contains `train/good` or `test/good`."""
        return _is_category(root) or bool(MvtecLayout.categories(root))

    @staticmethod
    def categories(root: Path) -> list[str]:
        """Return the names of the category folders; empty if the folder is itself one category."""
        return list_categories(root, _is_category)

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the dataset of one category; DataError if there is no `train/good` and no `test/good`."""
        folder, category = select_category(root, category, MvtecLayout.categories(root))
        if not _is_category(folder):
            raise DataError(f"{folder}: no train/good with normal images; expected {MvtecLayout.tree}")
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
