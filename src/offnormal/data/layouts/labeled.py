"""Shared code of layouts with one folder per defect: makes labeled items and finds their masks."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from offnormal.data.folder_words import Meaning, meanings_of
from offnormal.data.mask_names import marks_anything, masks_beside, meanings_of_folder, not_masks
from offnormal.errors import DataError, counted
from offnormal.sources.paths import images_in, natural_key
from offnormal.types import ANOMALOUS, NORMAL, Item, MaskSource

log = logging.getLogger(__name__)

_MASK_ENDINGS = ("_mask", "", "_gt", "_label")  # after the image name, in the order tried


def subfolders(folder: Path) -> list[Path]:
    """Return the visible folders in a folder, naturally sorted."""
    return sorted((p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")), key=natural_key)


def find_folder(root: Path, *names: str) -> Path | None:
    """Return the folder at a path below the root, whatever the case of its names; None if it does not exist."""
    folder = root
    for name in names:
        matches = [inner for inner in subfolders(folder) if inner.name.casefold() == name.casefold()]
        if not matches:
            return None
        folder = next((match for match in matches if match.name == name), matches[0])
    return folder


def image_item(path: Path, root: Path, class_name: str | None = None, mask: Path | None = None) -> Item:
    """Return an image as an item named relative to `root`: normal without a class name, otherwise anomalous."""
    return Item(
        address=str(path),
        name=path.relative_to(root).as_posix(),
        label=NORMAL if class_name is None else ANOMALOUS,
        class_name="good" if class_name is None else class_name,
        masks=None if mask is None else MaskSource(path=mask),
    )


def normal_items(folder: Path | None, root: Path | None = None) -> tuple[Item, ...]:
    """Return all images of a folder (recursively) as normal items, named relative to `root` (default: the folder)."""
    if folder is None:
        return ()
    return tuple(image_item(path, root or folder) for path in images_in(folder))


def is_normal(meanings: Collection[Meaning]) -> bool:
    """Whether the words of a name say normal, and none says anomalous."""
    return "normal" in meanings and "anomalous" not in meanings


def labeled_items(
    test: Path,
    masks: Path | None,
    root: Path | None = None,
    *,
    mask_suffix: str | None = None,
    without: Collection[Path] = (),
) -> tuple[Item, ...]:
    """Return labeled items from one folder per anomaly type; folders named good, normal, ok, and the like are normal.

    masks: a folder like `test`, or a flat one; None: a folder of masks in `test`, or none. Masks are matched by name,
    with `mask_suffix` or a usual ending. A folder of masks by its name and content, and a mask beside its image, is no
    item. without: subfolders that are not read.
    Raises DataError if a defect has masks for only some images, and for images next to the folders.
    """
    if loose := images_in(test, recursive=False):
        raise DataError(
            f"{loose[0]}: an image without a label; expected every image of {test} in a subfolder, which is its label; "
            "move it to good/ or to the folder of a defect"
        )
    endings = _MASK_ENDINGS if mask_suffix is None else (mask_suffix,)
    folders = {folder: meanings_of_folder(folder) for folder in subfolders(test) if folder not in without}
    masks = masks or next((folder for folder in folders if "mask" in folders[folder]), None)
    items: list[Item] = []
    owners: dict[Path, Path] = {}  # mask -> image
    for folder, meanings in folders.items():
        if "mask" in meanings:
            continue
        images = images_in(folder)
        beside = masks_beside(images, mask_suffix) if masks is None or mask_suffix else {}
        images = not_masks(images, beside)
        if images and "mask" in meanings_of(folder.name):
            label = "normal" if is_normal(meanings) else "anomalous"
            log.warning("%s: photos, not masks as its name says; they are %s test images", folder, label)
        if is_normal(meanings):
            items += [image_item(path, root or test) for path in images]
            continue
        matches = beside if masks is None else _match_masks(folder, images, masks, endings)
        for path in images:
            mask = matches.get(path)
            if mask is not None and (other := owners.setdefault(mask, path)) != path:
                raise DataError(
                    f"{mask}: could be the mask of {other} and of {path}; expected one folder of masks per defect"
                )
            items.append(image_item(path, root or test, folder.name, mask))
    if masks is not None and not owners and images_in(masks) and any(item.label for item in items):
        raise DataError(
            f"{masks}: none of its {counted(len(images_in(masks)), 'mask')} has the name of an anomalous image; "
            "expected names such as 001_mask.png for 001.png; name another ending with --mask-suffix"
        )
    return tuple(items)


def items_by_masks(images: Sequence[Path], root: Path, masks: Mapping[Path, Path]) -> tuple[Item, ...]:
    """Return images as items that are anomalous if their mask marks a pixel; without a mask they are normal."""
    marked = {path: masks[path] for path in images if marks_anything(masks.get(path))}
    return tuple(image_item(path, root, "defect" if path in marked else None, marked.get(path)) for path in images)


def masked_items(folder: Path, root: Path, suffix: str) -> tuple[Item, ...]:
    """Return the images of a folder by their masks beside them; DataError for an image without a mask."""
    images = images_in(folder, recursive=False)
    masks = masks_beside(images, suffix)
    images = not_masks(images, masks)
    if missing := next((path for path in images if path not in masks), None):
        raise DataError(f"{missing}: no mask; expected {missing.stem}{suffix} with an image suffix beside it")
    return items_by_masks(images, root, masks)


def _match_masks(folder: Path, images: Sequence[Path], masks: Path, endings: Sequence[str]) -> dict[Path, Path]:
    """Return image -> mask: a file, or a folder of several masks (MVTec LOCO AD).

    The masks of a defect are in the folder of its name, or in `masks` itself if that has no subfolders.
    """
    mask_folder = find_folder(masks, folder.name)
    if mask_folder is None and subfolders(masks):
        return {}
    names = {path: _name(path, folder if mask_folder is not None else path.parent) for path in images}
    by_name: dict[str, Path] = {}
    for path in images_in(mask_folder or masks):
        by_name[_name(path, mask_folder or masks)] = path
        by_name.setdefault(_name(path.parent, mask_folder or masks) + "/", path.parent)
    matches = {
        path: by_name[key]
        for path, name in names.items()
        if (key := next((name + end for end in (*endings, "/") if name + end in by_name), None)) is not None
    }
    missing = next((path for path in images if path not in matches), None)
    if missing is not None and by_name and (matches or mask_folder is not None):
        usual = "" if len(endings) == 1 else f" or {names[missing]}.png"
        count = len(images_in(mask_folder or masks))
        raise DataError(
            f"{missing}: no mask; expected {names[missing]}{endings[0]}.png{usual} in {mask_folder or masks}, which "
            f"has {counted(count, 'mask')} for other images; add it, or remove the folder to skip pixel metrics"
        )
    return matches


def _name(path: Path, folder: Path) -> str:
    """Return the relative name without suffix, in composed Unicode: macOS writes `ä` as two characters."""
    relative = path.relative_to(folder)
    return unicodedata.normalize("NFC", (relative if path.is_dir() else relative.with_suffix("")).as_posix())
