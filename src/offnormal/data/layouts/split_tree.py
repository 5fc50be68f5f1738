"""Base class of layouts with a folder of normal training images and one test folder per label."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import CategoryLayout
from offnormal.data.layouts.labeled import find_folder, labeled_items, normal_items, subfolders
from offnormal.data.mask_names import find_mask_folder


class SplitTreeLayout(CategoryLayout):
    """`train/NORMAL`, `validation/NORMAL`, `test/<label>`, masks; one category or a folder of categories.

    Folder names match in any case. Masks are in `ground_truth/<label>` of the category, in another folder
    whose name says masks, or in such a folder of the test folder.
    """

    normal: ClassVar[str] = "good"  # folder of normal images
    test: ClassVar[str] = "test"
    markers: ClassVar[tuple[tuple[str, ...], ...]]  # paths, one of which exists in every category

    @classmethod
    def is_category(cls, folder: Path) -> bool:
        """Whether one of the markers exists."""
        return any(find_folder(folder, *path) for path in cls.markers)

    @classmethod
    def read(cls, root: Path, category: str | None = None) -> Dataset:
        """Return the dataset of one category; DataError if the tree is not as expected."""
        folder, category = cls.select(root, category)
        test = find_folder(folder, cls.test)
        masks = find_folder(folder, "ground_truth") or find_mask_folder(subfolders(folder))
        return Dataset(
            name=category or folder.resolve().name,
            layout=cls.name,
            root=folder,
            category=category,
            train=normal_items(find_folder(folder, "train", cls.normal), folder),
            calibration=normal_items(find_folder(folder, "validation", cls.normal), folder),
            test=() if test is None else labeled_items(test, masks, folder),
        )
