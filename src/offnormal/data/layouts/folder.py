"""Plain folders: normal images, and optionally test images and masks."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import SingleCategoryLayout
from offnormal.data.layouts.labeled import NORMAL_NAMES, labeled_items, normal_items, subfolders
from offnormal.errors import DataError
from offnormal.sources.paths import images_in, to_local_path
from offnormal.types import Item

_STRUCTURED = ("train", "test", "ground_truth")


class FolderLayout(SingleCategoryLayout):
    """A folder of normal images, searched recursively; --test names the test images."""

    tree = "NORMAL/**/*.png  [TEST/**/*.png, labeled when TEST has a subfolder good, normal, or ok]  [MASKS/...]"
    source = "your own images"
    license = "yours"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder contains images but not train, test, or ground_truth (which belong to other layouts)."""
        return not any((root / name).is_dir() for name in _STRUCTURED) and bool(images_in(root))

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the images as normal training items; DataError if the folder is missing or empty."""
        if category is not None:
            raise DataError(f"--category {category}: plain folders have no categories; omit the option")
        return from_folders(normal=root)


def from_folders(*, normal: Path | None = None, test: Path | None = None, masks: Path | None = None) -> Dataset:
    """Return a dataset from separate folders.

    Test images are labeled if `test` has a subfolder good, normal, or ok (every other subfolder is then a defect);
    otherwise their labels are unknown. Masks have the same tree as `test`, with or without `_mask` at the end of the
    names.
    Raises DataError for a folder that is missing or has no images, and if the normal or test folder contains the other
    one: training images must not be used for testing.
    """
    normal, test, masks = (None if p is None else to_local_path(p) for p in (normal, test, masks))
    for folder in (normal, test, masks):
        if folder is not None and not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
    root = normal or test
    if root is None:
        raise DataError("no data; expected --data DIR, or --normal DIR and optionally --test DIR")
    if masks is not None and test is None:
        raise DataError(f"--masks {masks} without --test DIR; name the folder of the images that the masks belong to")
    if normal is not None and test is not None and are_nested(normal, test):
        raise DataError(f"--normal {normal} and --test {test} share images; use separate folders")
    if normal is not None:
        _reject_mixed(normal)
    train = normal_items(normal, root) if normal is not None else ()
    if normal is not None and not train:
        raise DataError(f"{normal}: no images; expected normal images for training")
    test_items: tuple[Item, ...] = ()
    if test is not None:
        name_root = root if test.is_relative_to(root) else test.parent
        if any(folder.name.casefold() in NORMAL_NAMES for folder in subfolders(test)):
            test_items = labeled_items(test, masks, name_root)
        else:
            if masks is not None:
                raise DataError(f"--masks without labels; sort {test} into good/ and one folder per defect")
            test_items = tuple(
                Item(address=str(path), name=path.relative_to(name_root).as_posix()) for path in images_in(test)
            )
        if not test_items:
            raise DataError(f"{test}: no images; expected images for testing")
    return Dataset(name=root.resolve().name, layout="folder", root=root, train=train, test=test_items)


def _reject_mixed(normal: Path) -> None:
    """Raise DataError for a folder with a subfolder of good images and others, which are not normal."""
    names = [folder.name for folder in subfolders(normal)]
    good = [name for name in names if name.casefold() in NORMAL_NAMES]
    if good and len(names) > len(good):
        raise DataError(
            f"{normal}: contains {', '.join(names[:6])}; expected only normal images; use --normal {normal / good[0]} "
            f"(and --test {normal} to evaluate later)"
        )


def are_nested(first: Path, second: Path) -> bool:
    """Whether one of two paths is inside the other, or both are the same."""
    first, second = first.resolve(), second.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)
