"""Base class of layouts with a folder of normal training images and one test folder per label."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import list_categories, select_category
from offnormal.data.layouts.labeled import find_folder, labeled_items, normal_items
from offnormal.errors import DataError


class SplitTreeLayout:
    """`train/NORMAL`, `validation/NORMAL`, `test/<label>`, masks; one category or a folder of categories.

    Folder names match in any case. Masks are in `ground_truth/<label>` of the category, or of the test folder.
    """

    name: ClassVar[str]
    tree: ClassVar[str]
    normal: ClassVar[str] = "good"  # folder of normal images
    test: ClassVar[str] = "test"
    markers: ClassVar[tuple[tuple[str, ...], ...]]  # paths, one of which exists in every category

    @classmethod
    def is_category(cls, folder: Path) -> bool:
        """Whether one of the markers exists."""
        return any(find_folder(folder, *path) for path in cls.markers)

    @classmethod
    def recognizes(cls, root: Path) -> bool:
        """Whether the folder or one of its subfolders is a category."""
        return cls.is_category(root) or bool(cls.categories(root))

    @classmethod
    def categories(cls, root: Path) -> list[str]:
        """Return the names of the category folders; empty if the folder is itself one category."""
        return list_categories(root, cls.is_category)

    @classmethod
    def read(cls, root: Path, category: str | None = None) -> Dataset:
        """Return the dataset of one category; DataError if the tree is not as expected."""
        folder, category = select_category(root, category, cls.categories(root))
        if not cls.is_category(folder):
            raise DataError(f"{folder}: no train/{cls.normal} with normal images; expected {cls.tree}")
        test = find_folder(folder, cls.test)
        return Dataset(
            name=category or folder.resolve().name,
            layout=cls.name,
            root=folder,
            category=category,
            train=normal_items(find_folder(folder, "train", cls.normal), folder),
            calibration=normal_items(find_folder(folder, "validation", cls.normal), folder),
            test=() if test is None else labeled_items(test, find_folder(folder, "ground_truth"), folder),
        )
