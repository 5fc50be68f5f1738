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
_NEAR = 8  # values within 1/8 of the highest one from 0 or from a label may be noise around it
_EXACT = 4  # values of thin labels at most; noise has more
_JPEG = b"\xff\xd8\xff"


def open_mask(path: Path, max_pixels: int = MAX_IMAGE_PIXELS) -> np.ndarray:
    """Read a mask as (H, W) bool, upright; True where a pixel is neither black nor transparent.

    In palette images the background is black, or index 0 if no pixel is black. In masks that were compressed with loss
    or resized with soft edges, pixels above half of the lowest label are marked. A folder of masks is one mask: of the
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
    return np.asarray(values > _threshold(values, is_lossy=_is_jpeg(path)))


def _is_jpeg(path: Path) -> bool:
    if not path.is_file():
        return False  # a page of a file
    with path.open("rb") as file:
        return file.read(len(_JPEG)) == _JPEG


def _threshold(values: np.ndarray, *, is_lossy: bool) -> float:
    """Return the highest value of the background (H, W): 0, or half of the lowest label if the values are not exact.

    Labels have flat areas. Values are exact if the other ones are thin labels. They are not if there are such values
    near 0 and near a label and few others, or if they change from pixel to pixel, as at edges in a JPEG file.
    """
    highest = float(values.max(initial=0))
    if (values.dtype.kind in "bui" and highest <= _FEW) or ((values == 0) | (values == highest)).all():
        return 0
    flat = _flat_areas(values)
    loose = (values > 0) & (values < highest) & ~flat
    if not loose.any():
        return 0
    near = highest / _NEAR
    labels = np.append(np.unique(values[flat & (values > near)]), values.max()).astype(float)
    low, others = loose & (values <= near), values[loose & (values > near)].astype(float)
    above = np.searchsorted(labels, others)
    distances = np.minimum(np.abs(labels[above] - others), np.abs(labels[above - 1] - others))
    high = np.count_nonzero(distances <= near)
    is_noise = low.any() and high and len(others) - high < low.sum() + high
    is_flat = _is_flat(values, loose)
    if is_flat and not is_lossy and not (is_noise and len(np.unique(values[loose])) > _EXACT):
        return 0
    return float(labels.min()) / 2


def _flat_areas(values: np.ndarray) -> np.ndarray:
    """Return which pixels (H, W) are in some 3x3 pixels of one value."""
    if min(values.shape) < 3:
        return np.zeros(values.shape, np.bool_)
    rows = (values[:, 1:-1] == values[:, :-2]) & (values[:, 1:-1] == values[:, 2:])
    columns = (values[1:-1] == values[:-2]) & (values[1:-1] == values[2:])
    is_center = rows[:-2] & rows[1:-1] & rows[2:] & columns[:, 1:-1]
    flat = np.zeros(values.shape, np.bool_)
    for row in range(3):
        for column in range(3):
            flat[row : row + is_center.shape[0], column : column + is_center.shape[1]] |= is_center
    return flat


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
