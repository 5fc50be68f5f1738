"""Base class of layouts with a folder of normal training images and one test folder per label."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar, Literal

from offnormal.data.dataset import Dataset
from offnormal.data.folder_words import meanings_of
from offnormal.data.layouts.categories import CategoryLayout
from offnormal.data.layouts.labeled import find_folder, labeled_items, normal_items, subfolders
from offnormal.data.mask_names import find_mask_folder
from offnormal.data.plain_tree import describe_mixture
from offnormal.errors import name_some
from offnormal.sources.paths import images_in

log = logging.getLogger(__name__)


class SplitTreeLayout(CategoryLayout):
    """`train/NORMAL`, `validation/NORMAL`, `test/<label>`, masks; one category or a folder of categories.

    Folder names match in any case; training and validation images may also be without a folder NORMAL. Masks are in
    `ground_truth/<label>` of the category, in another folder whose name says masks, or in such a folder of the test
    folder.
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
            train=normal_items(_normal_folder(folder, "train", cls.normal), folder),
            calibration=normal_items(_normal_folder(folder, "validation", cls.normal), folder),
            test=() if test is None else labeled_items(test, masks, folder),
        )


def _normal_folder(root: Path, split: Literal["train", "validation"], normal: str) -> Path | None:
    """Return the folder of the normal images of a split: `normal` in it, or all of it if no name says otherwise.

    Logs what is not used.
    """
    named = (inner for inner in subfolders(root) if meanings_of(inner.name, whole=True) == [split])
    folder = find_folder(root, split) or next(named, None)
    if folder is None:
        return None
    images, inner = images_in(folder), find_folder(folder, normal)
    if inner is None:
        if (mixture := describe_mixture(folder, images)) is not None:
            log.warning("%s\nnot used; move the normal ones to %s", mixture, folder / normal)
        return folder if mixture is None else None
    if others := dict.fromkeys(path.relative_to(folder).parts[0] for path in images if not path.is_relative_to(inner)):
        log.warning("%s: not used: %s; expected normal images in %s", folder, name_some(others), inner)
    return inner
