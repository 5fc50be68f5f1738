"""Privacy masks: areas of every image that are painted black before anything else reads it."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, UnidentifiedImageError
from pydantic import BaseModel

from offnormal.errors import ConfigError, ImageError
from offnormal.input_files import load_yaml, read_text
from offnormal.sources.mask import open_mask
from offnormal.sources.paths import is_image
from offnormal.types import Frame, Mask

_EXPECTED = "an image (its non-black pixels are painted), or YAML or JSON with polygons [[[x, y], ...], ...] in 0-1"


def read_privacy_mask(path: str | Path) -> Mask:
    """Read a mask from an image, or from polygons in relative coordinates (x right, y down).

    Raises ConfigError for another file, and for a mask that covers nothing or everything.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected {_EXPECTED}")
    if is_image(path):
        try:
            mask = Mask(image=_encode_png(open_mask(path)))
        except ImageError as error:
            raise ConfigError(str(error)) from None
    else:
        try:
            stored_mask = load_yaml(read_text(path))
            mask = parse_mask({"polygons": stored_mask} if isinstance(stored_mask, list) else dict(stored_mask))
        except (OSError, TypeError, ValueError, AttributeError):
            raise ConfigError(f"{path}: not a mask; expected {_EXPECTED}") from None
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
    share = rasterize_mask(mask, (720, 1280)).mean()
    if not 0 < share < 1:
        raise ConfigError(f"{path}: covers {100 * share:.0f} % of an image; expected a part of it")
    return mask


class _StoredMask(BaseModel):
    polygons: tuple[tuple[tuple[float, float], ...], ...] | None = None
    image: str | None = None


def parse_mask(values: Mapping[str, object]) -> Mask:
    """Build a mask from `asdict(mask)` or the values of a file; ConfigError or ValueError for other values."""
    unknown = set(values) - {"polygons", "image"}
    if unknown:
        raise ConfigError(f"a mask with {', '.join(sorted(unknown))}; expected polygons")
    stored = _StoredMask.model_validate(values)
    return Mask(stored.polygons or (), stored.image)


def paint(image: np.ndarray, mask: Mask | None) -> np.ndarray:
    """Paint the mask's areas of an image (H, W, ...) black; without a mask, return the same array."""
    if mask is None:
        return image
    covered = rasterize_mask(mask, (image.shape[0], image.shape[1]))
    return np.where(covered.reshape(covered.shape + (1,) * (image.ndim - 2)), np.zeros((), image.dtype), image)


def paint_frame(frame: Frame, mask: Mask | None) -> Frame:
    """Paint a frame in both depths as `paint` does."""
    if mask is None:
        return frame
    deep = None if frame.deep is None else paint(frame.deep, mask)
    return replace(frame, image=paint(frame.image, mask), deep=deep)


def paint_image(image: Image.Image, mask: Mask | None) -> Image.Image:
    """Paint a Pillow image in RGB, gray, or float as `paint` does."""
    return image if mask is None else Image.fromarray(paint(np.asarray(image), mask))


@lru_cache(maxsize=32)
def rasterize_mask(mask: Mask, size: tuple[int, int]) -> np.ndarray:
    """Return (H, W) bool, True for each pixel that a polygon or a marked pixel of the mask's image touches."""
    height, width = size
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    for polygon in mask.polygons:
        draw.polygon([(x * (width - 1), y * (height - 1)) for x, y in polygon], fill=1, outline=1)
    covered = np.asarray(canvas) > 0
    if mask.image is not None:
        covered = covered | _project_marks(_decode_png(mask.image), size)
    covered.setflags(write=False)
    return covered


def _project_marks(marks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize marks (h, w) to (H, W); a pixel is True if it overlaps any marked one."""
    sums = np.pad(marks.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    (top, bottom), (left, right) = (
        (np.arange(new_size) * old_size // new_size, -(-np.arange(1, new_size + 1) * old_size // new_size))
        for old_size, new_size in zip(marks.shape, size, strict=True)
    )
    inside = sums[bottom][:, right] - sums[top][:, right] - sums[bottom][:, left] + sums[top][:, left]
    return np.asarray(inside > 0)


def _encode_png(marks: np.ndarray) -> str:
    with io.BytesIO() as file:
        Image.fromarray(marks).save(file, "PNG", optimize=True)
        return base64.b64encode(file.getvalue()).decode("ascii")


def _decode_png(text: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
            return np.asarray(image.convert("L")) > 0
    except (binascii.Error, UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise ConfigError("the image of a mask is damaged; pass the mask again") from None
