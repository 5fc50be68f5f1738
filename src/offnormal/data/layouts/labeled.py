"""What layouts with one folder per defect share: types of anomalies -> labeled items, and finding their masks."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from offnormal.errors import DataError
from offnormal.sources.paths import images_in, natural_key
from offnormal.types import ANOMALOUS, NORMAL, Item, MaskSource

_MASK_ENDINGS = ("_mask", "", "_gt")  # after the picture's name, in the order tried
NORMAL_NAMES = frozenset({"good", "normal", "ok", "0.normal"})


def subfolders(folder: Path) -> list[Path]:
    """Visible folders inside a folder, naturally sorted."""
    return sorted((p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")), key=natural_key)


def normal_items(folder: Path, root: Path | None = None) -> tuple[Item, ...]:
    """Every image of a folder (recursively) as a normal item of the dataset in `root`, by default the folder itself."""
    return tuple(
        Item(address=str(path), name=path.relative_to(root or folder).as_posix(), label=NORMAL, class_name="good")
        for path in images_in(folder)
    )


def labeled_items(test: Path, masks: Path | None, root: Path | None = None) -> tuple[Item, ...]:
    """One folder per type of anomaly, the normal ones named good, normal, ok or 0.normal; masks matched by name.

    Raises DataError when the masks of a defect exist for some pictures only, and for pictures beside the folders.
    """
    if loose := images_in(test, recursive=False):
        raise DataError(
            f"{loose[0]} lies in {test} itself, where every picture is labeled by its folder: sort it into good/ or "
            "the folder of a defect, or take it away"
        )
    items: list[Item] = []
    for folder in subfolders(test):
        normal = folder.name.casefold() in NORMAL_NAMES
        mask_folder = masks / folder.name if masks is not None and not normal else None
        known: dict[str, Path] = {}
        if mask_folder is not None and mask_folder.is_dir():
            known = {_name(path, mask_folder): path for path in images_in(mask_folder)}
        for path in images_in(folder):
            mask = _mask_of(path, folder, mask_folder, known) if known else None
            items.append(
                Item(
                    address=str(path),
                    name=path.relative_to(root or test).as_posix(),
                    label=NORMAL if normal else ANOMALOUS,
                    class_name="good" if normal else folder.name,
                    masks=None if mask is None else MaskSource(path=mask),
                )
            )
    return tuple(items)


def train_and_test(root: Path, normal: str) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Items of `train/NORMAL`, and of `test` with masks from `ground_truth`, as far as these folders exist."""
    train, test, masks = root / "train" / normal, root / "test", root / "ground_truth"
    return (
        normal_items(train, root) if train.is_dir() else (),
        labeled_items(test, masks if masks.is_dir() else None, root) if test.is_dir() else (),
    )


def _mask_of(path: Path, folder: Path, mask_folder: Path | None, known: dict[str, Path]) -> Path:
    name = _name(path, folder)
    found = next((mask for ending in _MASK_ENDINGS if (mask := known.get(name + ending)) is not None), None)
    if found is None:
        raise DataError(
            f"{path}: no mask {name}_mask.png or {name}.png in {mask_folder}, which has {len(known)} masks for "
            "other pictures; add the mask, or remove the folder to evaluate without pixel metrics"
        )
    return found


def _name(path: Path, folder: Path) -> str:
    """Relative name without suffix, composed: macOS writes `ä` as two characters."""
    return unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())
