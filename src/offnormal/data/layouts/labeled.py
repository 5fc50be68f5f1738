"""Shared code of layouts with one folder per defect: makes labeled items and finds their masks."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from offnormal.errors import DataError, counted
from offnormal.sources.paths import images_in, natural_key
from offnormal.types import ANOMALOUS, NORMAL, Item, MaskSource

_MASK_ENDINGS = ("_mask", "", "_gt")  # after the image name, in the order tried
NORMAL_NAMES = frozenset({"good", "normal", "ok", "0.normal"})


def subfolders(folder: Path) -> list[Path]:
    """Return the visible folders in a folder, naturally sorted."""
    return sorted((p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")), key=natural_key)


def normal_items(folder: Path, root: Path | None = None) -> tuple[Item, ...]:
    """Return all images of a folder (recursively) as normal items, named relative to `root` (default: the folder)."""
    return tuple(
        Item(address=str(path), name=path.relative_to(root or folder).as_posix(), label=NORMAL, class_name="good")
        for path in images_in(folder)
    )


def labeled_items(test: Path, masks: Path | None, root: Path | None = None) -> tuple[Item, ...]:
    """Return labeled items from one folder per anomaly type; good, normal, ok, and 0.normal are normal.

    Masks are matched by name. Raises DataError if a defect has masks for only some images, and for images next to the
    folders.
    """
    if loose := images_in(test, recursive=False):
        raise DataError(
            f"{loose[0]}: an image without a label; expected every image of {test} in a subfolder, which is its label; "
            "move it to good/ or to the folder of a defect"
        )
    items: list[Item] = []
    for folder in subfolders(test):
        is_normal = folder.name.casefold() in NORMAL_NAMES
        mask_folder = masks / folder.name if masks is not None and not is_normal else None
        masks_by_name: dict[str, Path] = {}
        if mask_folder is not None and mask_folder.is_dir():
            masks_by_name = {_name(path, mask_folder): path for path in images_in(mask_folder)}
        for path in images_in(folder):
            mask = _find_mask(path, folder, mask_folder, masks_by_name) if masks_by_name else None
            items.append(
                Item(
                    address=str(path),
                    name=path.relative_to(root or test).as_posix(),
                    label=NORMAL if is_normal else ANOMALOUS,
                    class_name="good" if is_normal else folder.name,
                    masks=None if mask is None else MaskSource(path=mask),
                )
            )
    return tuple(items)


def train_and_test(root: Path, normal: str) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Return the items of `train/NORMAL`, and of `test` with masks from `ground_truth`; missing folders are empty."""
    train, test, masks = root / "train" / normal, root / "test", root / "ground_truth"
    return (
        normal_items(train, root) if train.is_dir() else (),
        labeled_items(test, masks if masks.is_dir() else None, root) if test.is_dir() else (),
    )


def _find_mask(path: Path, folder: Path, mask_folder: Path | None, masks: dict[str, Path]) -> Path:
    name = _name(path, folder)
    mask = next((mask for ending in _MASK_ENDINGS if (mask := masks.get(name + ending)) is not None), None)
    if mask is None:
        raise DataError(
            f"{path}: no mask; expected {name}_mask.png or {name}.png in {mask_folder}, which has "
            f"{counted(len(masks), 'mask')} for other images; add it, or remove the folder to skip pixel metrics"
        )
    return mask


def _name(path: Path, folder: Path) -> str:
    """Return the relative name without suffix, in composed Unicode: macOS writes `ä` as two characters."""
    return unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())
