"""Plain folders: one of normal pictures, and, if you have them, one to test on and one of masks."""

from __future__ import annotations

from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.layouts.categories import OneDataset
from offnormal.data.layouts.labeled import NORMAL_NAMES, labeled_items, normal_items, subfolders
from offnormal.errors import DataError
from offnormal.sources.paths import images_in, to_local_path
from offnormal.types import Item

_STRUCTURED = ("train", "test", "ground_truth")


class FolderLayout(OneDataset):
    """A folder of normal pictures, searched recursively; test pictures are given by --test."""

    tree = "NORMAL/**/*.png  [TEST/**/*.png, labeled when TEST has a subfolder good, normal or ok]  [MASKS/...]"
    source = "your own pictures"
    license = "yours"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder holds pictures and none of train, test, ground_truth (which other layouts explain)."""
        return not any((root / name).is_dir() for name in _STRUCTURED) and bool(images_in(root))

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """The folder as training normals; DataError when it is missing or empty."""
        if category is not None:
            raise DataError(f"--category {category}: plain folders have no categories; leave it out")
        return from_folders(normal=root)


def from_folders(*, normal: Path | None = None, test: Path | None = None, masks: Path | None = None) -> Dataset:
    """A dataset from folders named one by one.

    Test pictures are labeled when `test` has a subfolder called good, normal or ok (every other subfolder is
    then a defect); otherwise their labels are unknown. Masks mirror the tree of `test`, with or without `_mask`
    at the end of the name.
    Raises DataError for a folder that is missing or holds no picture, and for normal and test folders of which one
    lies in the other: what is learned from must not be tested on.
    """
    normal, test, masks = (None if p is None else to_local_path(p) for p in (normal, test, masks))
    for folder in (normal, test, masks):
        if folder is not None and not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
    root = normal or test
    if root is None:
        raise DataError("no data: give --data DIR, or --normal DIR and optionally --test DIR")
    if masks is not None and test is None:
        raise DataError(f"--masks {masks} goes with --test DIR, whose pictures the masks belong to")
    if normal is not None and test is not None and nested(normal, test):
        raise DataError(f"--normal {normal} and --test {test} share pictures: keep them in folders apart")
    if normal is not None:
        _refuse_mixed(normal)
    train = normal_items(normal, root) if normal is not None else ()
    if normal is not None and not train:
        raise DataError(f"{normal}: no picture in it or below it; expected normal pictures to learn from")
    tested: tuple[Item, ...] = ()
    if test is not None:
        above = root if test.is_relative_to(root) else test.parent
        if any(folder.name.casefold() in NORMAL_NAMES for folder in subfolders(test)):
            tested = labeled_items(test, masks, above)
        else:
            if masks is not None:
                raise DataError(f"--masks needs labels: sort {test} into good/ and one folder per defect")
            tested = tuple(Item(address=str(path), name=path.relative_to(above).as_posix()) for path in images_in(test))
        if not tested:
            raise DataError(f"{test}: no picture in it or below it; expected pictures to test on")
    return Dataset(name=root.resolve().name, layout="folder", root=root, train=train, test=tested)


def _refuse_mixed(normal: Path) -> None:
    """DataError for a folder that sorts its pictures into good ones and others: the others are not normal."""
    names = [folder.name for folder in subfolders(normal)]
    good = [name for name in names if name.casefold() in NORMAL_NAMES]
    if good and len(names) > len(good):
        raise DataError(
            f"{normal} holds {', '.join(names[:6])}: is everything in it normal? Name the normal folder alone, "
            f"--normal {normal / good[0]} (and --test {normal} for a later evaluation)"
        )


def nested(one: Path, other: Path) -> bool:
    """Whether one of two places lies in the other, or is it."""
    one, other = one.resolve(), other.resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)
