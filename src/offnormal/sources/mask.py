"""Mask files as marked pixels: which pixels a file marks is decided by its values, not by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from offnormal.errors import ImageError
from offnormal.sources.deep import DeepImage
from offnormal.sources.image import SUFFIXES, open_image
from offnormal.types import MAX_IMAGE_PIXELS

_FEW = 16  # masks with no higher value have 0/1 marks or labels, however they are compressed
_NEAR = 8  # values within 1/8 of the highest one from 0 or from the highest are noise around it


def open_mask(path: Path, max_pixels: int = MAX_IMAGE_PIXELS) -> np.ndarray:
    """Read a mask as (H, W) bool, upright; True where a pixel is neither black nor transparent.

    In palette images the background is black, or index 0 if no pixel is black. In masks that were compressed with loss
    or resized with soft edges, pixels above half of the highest value are marked. A folder of masks is one mask: of the
    pixels that any of them marks. Raises ImageError as `open_image` does.
    """
    if path.is_dir():
        return _merge_masks(path, max_pixels)
    image = open_image(path, max_pixels=max_pixels)
    if isinstance(image, DeepImage):
        values = image.values if image.values.ndim == 2 else image.values.max(-1)
        values = values if image.alpha is None else np.where(image.alpha > 0, values, 0)
    elif image.mode == "P":
        return _mask_from_palette(image)
    elif image.mode in ("1", "L"):
        values = np.asarray(image)
    else:
        rgba = np.asarray(image.convert("RGBA"))
        values = np.where(rgba[..., 3] > 0, rgba[..., :3].max(-1), 0)
    return np.asarray(values > _threshold(values))


def _threshold(values: np.ndarray) -> float:
    """Return the highest value of the background (H, W): 0, or half of the highest value if the values are not exact.

    Values are exact if they are 0 and marks or labels, each in flat areas. They are not if there are values near 0 and
    near the highest one and few others, or others that change from pixel to pixel, as at edges in a JPEG file.
    """
    highest = float(values.max(initial=0))
    is_integer = values.dtype.kind in "bui"
    if (is_integer and highest <= _FEW) or ((values == 0) | (values == highest)).all():
        return 0
    low = (values > 0) & (values <= highest / _NEAR)
    high = (values < highest) & (values >= highest - highest / _NEAR)
    between = (values > 0) & (values < highest) & ~low & ~high
    has_noise = low.any() and high.any() and between.sum() < low.sum() + high.sum()
    return highest / 2 if has_noise or not _is_flat(values, between) else 0


def _is_flat(values: np.ndarray, pixels: np.ndarray) -> bool:
    """Whether at least 3/4 of the neighbors among some pixels (H, W) have equal values: label areas, not soft edges."""
    equal = neighbors = 0
    for first, second in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        pairs = pixels[first] & pixels[second]
        neighbors += int(pairs.sum())
        equal += int((values[first] == values[second])[pairs].sum())
    return 4 * equal >= 3 * neighbors


def _merge_masks(folder: Path, max_pixels: int) -> np.ndarray:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    masks = [open_mask(path, max_pixels) for path in files]
    if len({mask.shape for mask in masks}) != 1:
        raise ImageError(f"{folder}: {len(masks)} masks of different sizes; expected masks of the size of their image")
    return np.asarray(np.logical_or.reduce(masks))


def _mask_from_palette(image: Image.Image) -> np.ndarray:
    indices = np.asarray(image)
    colors = np.asarray(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    used = [int(i) for i in np.unique(indices)]
    background = next((i for i in used if i < len(colors) and not colors[i].any()), 0)
    return np.asarray(indices != background)
