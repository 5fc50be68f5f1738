"""Which images of a folder are masks, by names and content: masks beside their images, and in folders called masks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from offnormal.data.folder_words import Meaning, meanings_of, split_mask_name
from offnormal.errors import ImageError
from offnormal.sources.image import open_image
from offnormal.sources.mask import open_mask
from offnormal.sources.paths import images_in

_LOSSY = (".jpg", ".jpeg")
_TRIED = 10  # files of a folder that are looked at; if they differ, all are
_MASK_VALUES = 16  # gray values that cover nearly all of a mask; a photo has more
_MASK_SHARE = 0.9  # of its pixels, if its folder says mask; the others are noise and soft edges


def masks_beside(images: Iterable[Path], suffix: str | None = None) -> dict[Path, Path]:
    """Return image -> its mask in the same folder, named after the image.

    suffix: the ending of the names of masks; "": a file with the name of an image in another format (`1.jpg`, `1.png`)
    and few gray values; None: any ending that says mask (`10000.png`, `10000_GT.png`), or such a file.
    """
    images = list(images)
    stems: dict[Path, list[Path]] = {}
    for path in images:
        stems.setdefault(path.with_suffix(""), []).append(path)
    pairs: dict[Path, Path] = {} if suffix else _same_names(stems.values())
    for path in images:
        if suffix is None:
            stem = split_mask_name(path.stem)
        else:
            stem = path.stem.removesuffix(suffix) if suffix and path.stem.endswith(suffix) else None
        if stem:
            pairs |= dict.fromkeys(stems.get(path.with_name(stem), ()), path)
    return pairs


def masks_in(masks: Path, folder: Path, suffix: str) -> dict[Path, Path]:
    """Return image -> its mask in another folder: in the same place below it, or all in one folder; names end alike."""
    by_name = {path.relative_to(masks).with_suffix("").as_posix(): path for path in images_in(masks)}
    pairs: dict[Path, Path] = {}
    for image in images_in(folder):
        places = (image.relative_to(folder).with_suffix("").as_posix(), image.stem)
        if (mask := next((by_name[name + suffix] for name in places if name + suffix in by_name), None)) is not None:
            pairs[image] = mask
    return pairs


def meanings_of_folder(folder: Path) -> list[Meaning]:
    """Return what the name of a folder says; it says mask only if there are images below and most may be masks."""
    meanings = meanings_of(folder.name)
    if "mask" not in meanings:
        return meanings
    images = images_in(folder)
    some = images[_evenly(len(images))]
    if some and 2 * sum(_may_be_mask(path, _MASK_SHARE) for path in some) >= len(some):
        return meanings
    return [meaning for meaning in meanings if meaning != "mask"]


def find_mask_folder(folders: Iterable[Path]) -> Path | None:
    """Return the first of some folders that is one of masks by its name and content."""
    return next((folder for folder in folders if "mask" in meanings_of_folder(folder)), None)


def without_masks(folder: Path) -> list[Path]:
    """Return the images of a folder that are not masks by the names of their folders or by their own names."""
    images = images_in(folder)
    folders = {parent for path in images for parent in path.parents if folder in parent.parents}
    masked = {parent for parent in folders if "mask" in meanings_of_folder(parent)}
    images = [path for path in images if masked.isdisjoint(path.parents)]
    return not_masks(images, masks_beside(images))


def not_masks(images: Iterable[Path], pairs: Mapping[Path, Path]) -> list[Path]:
    """Return the images that are not the mask of an image; pairs: image -> mask."""
    masks = set(pairs.values())
    return [path for path in images if path not in masks]


def marks_anything(mask: Path | None) -> bool:
    """Whether a mask marks a pixel; False without a mask."""
    return mask is not None and bool(open_mask(mask).any())


def _same_names(groups: Iterable[list[Path]]) -> dict[Path, Path]:
    """Return image -> mask for two files of the same name; in each folder a few decide for all if they agree."""
    by_folder: dict[Path, list[tuple[Path, Path]]] = {}
    for same in groups:
        if len(same) == 2:
            image, mask = sorted(same, key=lambda path: path.suffix.lower() not in _LOSSY)
            by_folder.setdefault(image.parent, []).append((image, mask))
    pairs: dict[Path, Path] = {}
    for candidates in by_folder.values():
        decided = {_order(*pair) for pair in candidates[_evenly(len(candidates))]}
        for pair in candidates:
            order = _order(*pair) if len(decided) > 1 else min(decided)
            if order:
                image, mask = pair[::order]
                pairs[image] = mask
    return pairs


def _order(first: Path, second: Path) -> int:
    """Return 1 if the second of two files is the mask of the first, -1 if it is the other way around, 0 if neither."""
    if not _may_be_mask(second):
        return -1 if _may_be_mask(first) else 0
    is_compressed = first.suffix.lower() in _LOSSY and second.suffix.lower() not in _LOSSY
    return 1 if is_compressed or not _may_be_mask(first) else 0


def _evenly(count: int) -> slice:
    return slice(None, None, math.ceil(count / _TRIED) or 1)


def _may_be_mask(path: Path, share: float = 1.0) -> bool:
    """Whether few gray values cover this share of an image, unlike a photo."""
    try:
        image = open_image(path)
    except ImageError:
        return False
    values = np.asarray(image) if isinstance(image, Image.Image) else image.values
    counts = np.sort(np.unique(values, return_counts=True)[1])
    return bool(counts[-_MASK_VALUES:].sum() >= share * values.size)
