"""A look at the training pictures before anything is learned: their sizes and depth decide the input specification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from offnormal.data.images import fixed_size
from offnormal.errors import ConfigError, DataError, ImageError, VideoError
from offnormal.sources.image import image_size, significant_bits
from offnormal.sources.paths import images_in
from offnormal.sources.video import open_video
from offnormal.types import ClipSpec, InputSpec, Interpolation, Item, Resize, ResizePolicy

_SIZES = 2000  # headers read at most
_DEPTHS = 32  # deep pictures decoded at most
_VIDEOS = 100  # opened at most


@dataclass(frozen=True, slots=True)
class Survey:
    """What the training pictures are like."""

    sizes: list[tuple[int, int]]  # (H, W)
    bits: int  # significant bits of 16-bit pictures; 16 where there are none


def survey(items: Sequence[Item]) -> Survey:
    """Sizes of up to 2000 images or 100 videos, and the depth of up to 32 images or frames, evenly spread.

    Unreadable ones are skipped here. Raises DataError when there is none or not one can be read.
    """
    if not items:
        raise DataError("no training items to look at")
    is_video = items[0].is_video
    sizes: dict[Path, tuple[int, int]] = {}
    for item in items[:: math.ceil(len(items) / (_VIDEOS if is_video else _SIZES))]:
        try:
            sizes[item.path] = _frame_size(item.path) if is_video else image_size(item.path)
        except (VideoError, ImageError):
            continue  # the loader stops at it or lists it
    if not sizes:
        kind = "videos" if is_video else "images"
        raise DataError(f"none of the {len(items)} training {kind} can be read, the first is {items[0].path}")
    deep = _some_frames(list(sizes)) if is_video else [item.path for item in items[:: math.ceil(len(items) / _DEPTHS)]]
    return Survey(list(sizes.values()), max((bits for path in deep if (bits := _bits(path)) is not None), default=16))


def _frame_size(path: Path) -> tuple[int, int]:
    with open_video(path) as reader:
        return reader.info.size


def _some_frames(videos: Sequence[Path]) -> list[Path]:
    """Some frames of folders of frames."""
    inside = [images_in(path, recursive=False) for path in videos if path.is_dir()]
    return [frame for frames in inside for frame in frames[:: math.ceil(len(frames) * len(videos) / _DEPTHS)]]


def _bits(path: Path) -> int | None:
    try:
        return significant_bits(path)
    except ImageError:
        return None


def default_side(found: Survey, side: int, squares: Sequence[int] = ()) -> int:
    """`side`, or of a detector that takes squares the least side to which half of the pictures need not be shrunk.

    >>> default_side(Survey([(28, 28)], 16), 64, squares=(16, 32, 64))
    32
    """
    shown = median(max(size) for size in found.sizes)
    return next((square for square in squares if shown <= square < side), side)


def choose_input(
    found: Survey,
    *,
    size: int | tuple[int, int],
    multiple: int,
    policy: ResizePolicy = "median_aspect",
    crop: int | None = None,
    interpolation: Interpolation = "bicubic",
    antialias: bool = True,
    squares: Sequence[int] = (),
    channels: int = 3,
    clip: ClipSpec | None = None,
) -> InputSpec:
    """The input specification for the pictures found.

    size: N for N x N pixels (with `median_aspect` as many in another shape), or (H, W); multiple: both sides are
    multiples of so many pixels; squares: the sides that a square may have, for detectors that take nothing else, onto
    which `median_aspect` stretches. channels: 1 gray, 3 RGB; clip: for detectors that take several
    frames. Raises ConfigError for settings that contradict each other.
    """
    if squares and policy == "median_aspect":
        policy = "stretch"
    if crop is not None and policy != "short_side":
        raise ConfigError(f"--crop goes with --resize short_side, not with {policy}")
    short_side = None
    if policy == "short_side":
        if not isinstance(size, int):
            raise ConfigError("--resize short_side takes one --size (the shorter side) and one --crop, in pixels")
        short_side, sides = size, (crop or size, crop or size)
        if sides[0] > size:
            raise ConfigError(f"--crop {sides[0]} is larger than --size {size}: the crop comes after the resize")
    elif not isinstance(size, int):
        sides = size
    elif policy == "median_aspect":
        sides = fixed_size(found.sizes, size, multiple=multiple)
    else:
        sides = (size, size)
    if any(side % multiple for side in sides):
        nearest = [max(multiple, round(side / multiple) * multiple) for side in sides]
        raise ConfigError(
            f"an input of {sides[0]} x {sides[1]} pixels: this detector needs multiples of {multiple}; "
            f"the nearest is {nearest[0]} x {nearest[1]}"
        )
    if squares and (sides[0] != sides[1] or sides[0] not in squares):
        side = min(squares, key=lambda side: abs(side - math.sqrt(sides[0] * sides[1])))
        raise ConfigError(
            f"an input of {sides[0]} x {sides[1]} pixels: this detector takes squares of "
            f"{', '.join(map(str, squares[:4]))}, ... pixels a side; the nearest is {side} x {side}, --size {side}"
        )
    resize = Resize(policy=policy, interpolation=interpolation, antialias=antialias, short_side=short_side)
    return InputSpec(size=sides, channels=channels, resize=resize, bits=found.bits, **asdict(clip or ClipSpec()))
