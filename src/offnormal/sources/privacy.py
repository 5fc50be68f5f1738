"""Privacy masks: areas of every picture that are painted black before anything else sees it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import yaml
from PIL import Image, ImageColor, ImageDraw, UnidentifiedImageError
from pydantic import BaseModel

from offnormal.errors import ConfigError, ImageError
from offnormal.sources.image import is_deep, open_mask
from offnormal.sources.paths import is_image
from offnormal.types import Mask

_FORM = (
    "a picture whose pixels that are not black are painted, or YAML or JSON with polygons: [[[x, y], ...], ...] in 0-1"
)


def read_privacy_mask(path: str | Path) -> Mask:
    """The mask in a file: a picture, or polygons in relative coordinates (x right, y down).

    Raises ConfigError for a file that is neither, and where nothing or everything would be painted.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected {_FORM}")
    if is_image(path):
        try:
            mask = Mask(image=_packed(open_mask(path)))
        except ImageError as error:
            raise ConfigError(str(error)) from None
    else:
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
            mask = mask_of({"polygons": found} if isinstance(found, list) else dict(found))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError, AttributeError):
            raise ConfigError(f"{path}: not a mask; expected {_FORM}") from None
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
    share = area(mask, (720, 1280)).mean()
    if not 0 < share < 1:
        raise ConfigError(f"{path}: paints {share:.0%} of a picture; expected some of it, but not all")
    return mask


class _StoredMask(BaseModel):
    polygons: tuple[tuple[tuple[float, float], ...], ...] | None = None
    image: str | None = None


def mask_of(values: Mapping[str, object]) -> Mask:
    """The mask of `asdict(mask)`, or of a file's plain values; ConfigError or ValueError for others."""
    unknown = set(values) - {"polygons", "image"}
    if unknown:
        raise ConfigError(f"a mask with {', '.join(sorted(unknown))}: expected polygons")
    stored = _StoredMask.model_validate(values)
    return Mask(stored.polygons or (), stored.image)


def identity(mask: Mask | None) -> str | None:
    """A short name that only masks with the same content share; None of none."""
    if mask is None:
        return None
    return hashlib.sha256(json.dumps([mask.polygons, mask.image]).encode()).hexdigest()[:12]


def paint(image: np.ndarray, mask: Mask | None) -> np.ndarray:
    """A picture (H, W, ...) with the mask's areas black; the same array where there is no mask."""
    if mask is None:
        return image
    covered = area(mask, (image.shape[0], image.shape[1]))
    return np.where(covered.reshape(covered.shape + (1,) * (image.ndim - 2)), np.zeros((), image.dtype), image)


def paint_picture(picture: Image.Image, mask: Mask | None) -> Image.Image:
    """`paint` of a Pillow image of any mode."""
    if mask is None:
        return picture
    if is_deep(picture):
        return Image.fromarray(paint(np.asarray(picture), mask))
    if picture.mode not in ("1", "L", "RGB") or "transparency" in picture.info:
        picture = picture.convert("RGB" if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV") else "RGBA")
    shown = picture.copy()
    stencil = Image.fromarray(area(mask, (picture.height, picture.width)))
    shown.paste(ImageColor.getcolor("black", shown.mode), (0, 0, picture.width, picture.height), stencil)
    return shown


@lru_cache(maxsize=32)
def area(mask: Mask, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool, True = painted: every pixel that a polygon or a marked pixel of the mask's picture touches."""
    height, width = size
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    for polygon in mask.polygons:
        draw.polygon([(x * (width - 1), y * (height - 1)) for x, y in polygon], fill=1, outline=1)
    covered = np.asarray(canvas) > 0
    if mask.image is not None:
        covered = covered | _touched(_unpacked(mask.image), size)
    covered.setflags(write=False)
    return covered


def _touched(marked: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Marked pixels (h, w) -> (H, W), True where a pixel shares any ground with a marked one."""
    sums = np.pad(marked.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    (top, bottom), (left, right) = (
        (np.arange(many) * few // many, -(-np.arange(1, many + 1) * few // many))
        for few, many in zip(marked.shape, size, strict=True)
    )
    inside = sums[bottom][:, right] - sums[top][:, right] - sums[bottom][:, left] + sums[top][:, left]
    return np.asarray(inside > 0)


def _packed(marked: np.ndarray) -> str:
    with io.BytesIO() as file:
        Image.fromarray(marked).save(file, "PNG", optimize=True)
        return base64.b64encode(file.getvalue()).decode("ascii")


def _unpacked(text: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
            return np.asarray(image.convert("L")) > 0
    except (binascii.Error, UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise ConfigError("the picture of a mask is damaged; give the mask again") from None
