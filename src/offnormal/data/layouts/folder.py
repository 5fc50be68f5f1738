"""Plain folders: normal images, and optionally test images and masks."""

from __future__ import annotations

import logging
from pathlib import Path

from offnormal.data.dataset import Dataset
from offnormal.data.folder_words import meanings_of
from offnormal.data.layouts.categories import SingleCategoryLayout
from offnormal.data.layouts.labeled import image_item, is_normal, items_by_masks, labeled_items, subfolders
from offnormal.data.mask_names import masks_beside, masks_in, not_masks, without_masks
from offnormal.data.plain_tree import check_plain, describe_mixture
from offnormal.errors import DataError, counted, name_some
from offnormal.sources.paths import images_in, to_local_path
from offnormal.types import Item

log = logging.getLogger(__name__)


class FolderLayout(SingleCategoryLayout):
    """A folder of normal images, searched recursively; --test names the test images."""

    tree = "NORMAL/**/*.png  [TEST/**/*.png, labeled if TEST has a subfolder such as good, normal, or ok]  [MASKS/...]"
    source = "your own images"
    license = "yours"

    @staticmethod
    def recognizes(root: Path) -> bool:
        """Whether the folder contains images, and no name in it describes a split, a label, or masks."""
        images = images_in(root)
        return bool(images) and describe_mixture(root, images) is None

    @staticmethod
    def read(root: Path, category: str | None = None) -> Dataset:
        """Return the images as normal training items; DataError if the folder is missing, empty, or mixed."""
        if category is not None:
            raise DataError(f"--category {category}: plain folders have no categories; omit the option")
        return from_folders(normal=root)


def from_folders(
    *,
    normal: Path | None = None,
    test: Path | None = None,
    masks: Path | None = None,
    mask_suffix: str | None = None,
    is_checked: bool = True,
) -> Dataset:
    """Return a dataset from separate folders.

    Test images are labeled if `test` has a subfolder named good, normal, ok, or the like (every other subfolder is then
    a defect), or if their masks are named with `mask_suffix`; otherwise their labels are unknown. Masks have the same
    tree as `test`, or are all in one folder, or with `mask_suffix` beside the images.
    is_checked: refuse a normal folder that contains more than normal images by the names in it.
    Raises DataError for a folder that is missing, mixed, or has no images, and if the normal or test folder contains
    the other one: training images must not be used for testing.
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
    train: tuple[Item, ...] = ()
    if normal is not None:
        train = _training_items(normal, root, mask_suffix, needs_masks=test is None, is_checked=is_checked)
    test_items = () if test is None else _test_items(test, root, masks, mask_suffix)
    return Dataset(name=root.resolve().name, layout="folder", root=root, train=train, test=test_items)


def from_masked_folder(root: Path, mask_suffix: str) -> Dataset:
    """Return a dataset from images with masks beside them: marked images are for testing, the others for training.

    Raises DataError if there is no mask, and for a mixed folder.
    """
    images = images_in(root)
    masks = masks_beside(images, mask_suffix)
    train = _training_items(root, root, mask_suffix)
    test = items_by_masks(not_masks(masks, masks), root, masks)
    marked = tuple(item for item in test if item.label)
    return Dataset(name=root.resolve().name, layout="folder", root=root, train=train, test=marked)


def _training_items(
    normal: Path, root: Path, mask_suffix: str | None, *, needs_masks: bool = True, is_checked: bool = True
) -> tuple[Item, ...]:
    images = images_in(normal)
    if not images:
        raise DataError(f"{normal}: no images; expected normal images for training")
    if mask_suffix is not None:
        beside = masks_beside(images, mask_suffix)
        if not beside and needs_masks:
            raise DataError(f"{normal}: no mask NAME{mask_suffix}.png beside an image NAME.png; omit --mask-suffix")
        items = items_by_masks(not_masks(images, beside), root, beside)
        if marked := [item for item in items if item.label]:
            names = name_some(item.name for item in marked)
            log.warning("%s: not used for training, because their masks mark defects: %s", normal, names)
        images = [item.path for item in items if not item.label]
    check_plain(normal, images, refuse=is_checked)
    return tuple(image_item(path, root) for path in images)


def _test_items(test: Path, root: Path, masks: Path | None, mask_suffix: str | None) -> tuple[Item, ...]:
    name_root = root if test.is_relative_to(root) else test.parent
    items: tuple[Item, ...]
    if any(is_normal(meanings_of(folder.name)) for folder in subfolders(test)):
        items = labeled_items(test, masks, name_root, mask_suffix=mask_suffix)
    elif mask_suffix is not None:
        images = images_in(test)
        pairs = masks_beside(images, mask_suffix) if masks is None else masks_in(masks, test, mask_suffix)
        if images and not pairs:
            raise DataError(f"{masks or test}: no mask NAME{mask_suffix}.png for an image NAME.png of {test}")
        items = items_by_masks(not_masks(images, pairs), name_root, pairs)
    elif masks is not None:
        raise DataError(
            f"--masks without labels; sort {test} into good/ and one folder per defect, or name the ending of the "
            "masks with --mask-suffix: an image is then anomalous if its mask marks a pixel"
        )
    else:
        images = without_masks(test)
        if count := len(images_in(test)) - len(images):
            log.warning("%s: %s skipped", test, counted(count, "mask"))
        items = tuple(Item(address=str(path), name=path.relative_to(name_root).as_posix()) for path in images)
    if not items:
        raise DataError(f"{test}: no images; expected images for testing")
    return items


def are_nested(first: Path, second: Path) -> bool:
    """Whether one of two paths is inside the other, or both are the same."""
    first, second = first.resolve(), second.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)
