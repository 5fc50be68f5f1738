"""Which images of a folder are masks, by their names: masks beside their images, and in folders called masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from offnormal.data.folder_words import meaning_of, split_mask_name
from offnormal.errors import ImageError
from offnormal.sources.image import open_image
from offnormal.sources.mask import open_mask
from offnormal.sources.paths import images_in

_LOSSY = (".jpg", ".jpeg")
_TRIED = 10  # pairs of equal names whose second file is looked at
_MASK_VALUES = 16  # gray values of a mask at most; a photo has more


def masks_beside(images: Iterable[Path], suffix: str | None = None) -> dict[Path, Path]:
    """Return image -> its mask in the same folder, named after the image.

    suffix: the ending of the names of masks; None: any ending that says mask (`10000.png`, `10000_GT.png`), or a file
    with the name of a JPEG (`1.jpg`, `1.png`) and few gray values.
    """
    images = list(images)
    stems: dict[Path, list[Path]] = {}
    for path in images:
        stems.setdefault(path.with_suffix(""), []).append(path)
    pairs: dict[Path, Path] = {}
    for path in images:
        if suffix is None:
            stem = split_mask_name(path.stem)
        else:
            stem = path.stem.removesuffix(suffix) if suffix and path.stem.endswith(suffix) else None
        if stem:
            pairs |= dict.fromkeys(stems.get(path.with_name(stem), ()), path)
    return pairs if suffix is not None else {**_same_names(stems.values()), **pairs}


def masks_in(masks: Path, folder: Path, suffix: str) -> dict[Path, Path]:
    """Return image -> its mask in another folder: in the same place below it, or all in one folder; names end alike."""
    by_name = {path.relative_to(masks).with_suffix("").as_posix(): path for path in images_in(masks)}
    pairs: dict[Path, Path] = {}
    for image in images_in(folder):
        places = (image.relative_to(folder).with_suffix("").as_posix(), image.stem)
        if (mask := next((by_name[name + suffix] for name in places if name + suffix in by_name), None)) is not None:
            pairs[image] = mask
    return pairs


def without_masks(folder: Path) -> list[Path]:
    """Return the images of a folder that are not masks by the names of their folders or by their own names."""
    images = [
        path
        for path in images_in(folder)
        if not any(meaning_of(part) == "mask" for part in path.relative_to(folder).parent.parts)
    ]
    return not_masks(images, masks_beside(images))


def not_masks(images: Iterable[Path], pairs: Mapping[Path, Path]) -> list[Path]:
    """Return the images that are not the mask of an image; pairs: image -> mask."""
    masks = set(pairs.values())
    return [path for path in images if path not in masks]


def marks_anything(mask: Path | None) -> bool:
    """Whether a mask marks a pixel; False without a mask."""
    return mask is not None and bool(open_mask(mask).any())


def _same_names(groups: Iterable[list[Path]]) -> dict[Path, Path]:
    pairs: dict[Path, Path] = {}
    for same in groups:
        photos = [path for path in same if path.suffix.lower() in _LOSSY]
        if len(same) == 2 and len(photos) == 1:
            (pairs[photos[0]],) = set(same) - set(photos)
    return pairs if any(map(_has_few_values, list(pairs.values())[:_TRIED])) else {}


def _has_few_values(path: Path) -> bool:
    try:
        image = open_image(path)
    except ImageError:
        return False
    values = np.asarray(image) if isinstance(image, Image.Image) else image.values
    return len(np.unique(values)) <= _MASK_VALUES
