"""Surveys the sizes and bit depths of the training images, and chooses the input specification from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from offnormal.data.images import median_aspect_size
from offnormal.errors import ConfigError, DataError, ImageError, VideoError
from offnormal.sources.deep import Depth, Levels, join_depths
from offnormal.sources.image import image_depth, image_size
from offnormal.sources.paths import images_in
from offnormal.sources.video import open_video
from offnormal.types import MAX_IMAGE_PIXELS, ClipSpec, InputSpec, Interpolation, Item, Resize, ResizePolicy

_SIZES = 2000  # maximum number of headers read
_DEPTHS = 32  # maximum number of deep images decoded
_VIDEOS = 100  # maximum number of videos opened
MAX_INPUT_PIXELS = 4096 * 4096
_BYTES_PER_PIXEL = 250  # input and feature maps of a small backbone


@dataclass(frozen=True, slots=True)
class Survey:
    """Sizes and bit depth of the training images."""

    sizes: list[tuple[int, int]]  # (H, W)
    levels: Levels | None = None  # values of deep images that become 0 and 1; None: all have 8 bits


def survey(items: Sequence[Item], max_pixels: int = MAX_IMAGE_PIXELS) -> Survey:
    """Read the sizes of up to 2000 images or 100 videos, and the depth of up to 32 images or frames, evenly spread.

    Skips unreadable items. Raises DataError if there are no items or none can be read.
    """
    if not items:
        raise DataError("no training items; expected at least one normal image or video")
    is_video = items[0].is_video
    sizes: dict[Path, tuple[int, int]] = {}
    errors: list[str] = []
    for item in items[:: math.ceil(len(items) / (_VIDEOS if is_video else _SIZES))]:
        try:
            sizes[item.path] = _frame_size(item.path) if is_video else image_size(item.path, max_pixels)
        except (VideoError, ImageError) as error:
            errors.append(str(error))  # the loader reports or skips it
    if not sizes:
        kind = "video" if is_video else "image"
        raise DataError(f"no readable training {kind} among {len(items)}; check the first one, {errors[0]}")
    deep = _some_frames(list(sizes)) if is_video else [item.path for item in items[:: math.ceil(len(items) / _DEPTHS)]]
    return Survey(
        list(sizes.values()),
        None if (depth := join_depths(_depth(path, max_pixels) for path in deep)) is None else depth.levels,
    )


def _frame_size(path: Path) -> tuple[int, int]:
    with open_video(path) as reader:
        return reader.info.size


def _some_frames(videos: Sequence[Path]) -> list[Path]:
    """Select evenly spread frames from folders of frames."""
    folders = [images_in(path, recursive=False) for path in videos if path.is_dir()]
    return [frame for frames in folders for frame in frames[:: math.ceil(len(frames) * len(videos) / _DEPTHS)]]


def _depth(path: Path, max_pixels: int) -> Depth | None:
    try:
        return image_depth(path, max_pixels)
    except ImageError:
        return None


def default_side(images: Survey, side: int, squares: Sequence[int] = ()) -> int:
    """Return `side`, or, from `squares`, the smallest side that is not below the median longer side of the images.

    >>> default_side(Survey([(28, 28)]), 64, squares=(16, 32, 64))
    32
    """
    median_side = median(max(size) for size in images.sizes)
    return next((square for square in squares if median_side <= square < side), side)


def choose_input(
    images: Survey,
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
    max_pixels: int = MAX_IMAGE_PIXELS,
    max_input_pixels: int = MAX_INPUT_PIXELS,
) -> InputSpec:
    """Choose the input specification for the surveyed images.

    size: N for NxN pixels (with `median_aspect` the same area in another shape), or (H, W). multiple: both sides are
    multiples of it. squares: allowed sides of a detector that takes only squares; `median_aspect` then stretches.
    channels: 1 gray, 3 RGB. clip: for detectors that take several frames. max_pixels: of an image file.
    max_input_pixels: of an image as the detector takes it. Raises ConfigError for settings that contradict each other.
    """
    if squares and policy == "median_aspect":
        policy = "stretch"
    if crop is not None and policy != "short_side":
        raise ConfigError(f"--crop with --resize {policy}: expected --resize short_side")
    short_side = None
    if policy == "short_side":
        if not isinstance(size, int):
            raise ConfigError(f"--size {size[0]}x{size[1]} with --resize short_side: expected --size N (shorter side)")
        short_side, sides = size, (crop or size, crop or size)
        if sides[0] > size:
            raise ConfigError(f"--crop {sides[0]} with --size {size}: expected a crop of at most {size} pixels")
    elif not isinstance(size, int):
        sides = size
    elif policy == "median_aspect":
        sides = median_aspect_size(images.sizes, size, multiple=multiple)
    else:
        sides = (size, size)
    largest = max(sides[0] * sides[1], (short_side or 0) ** 2)
    if largest > max_input_pixels:
        raise ConfigError(
            f"--size {size if isinstance(size, int) else f'{size[0]}x{size[1]}'}: {largest:,} pixels, about "
            f"{largest * _BYTES_PER_PIXEL / 1e9:,.1f} GB for the features of one image; expected at most "
            f"{max_input_pixels:,} pixels; lower --size, or raise --max-input-pixels"
        )
    if any(side % multiple for side in sides):
        nearest = [max(multiple, round(side / multiple) * multiple) for side in sides]
        raise ConfigError(
            f"input size {sides[0]}x{sides[1]}: this detector needs multiples of {multiple}; use --size "
            f"{nearest[0]}x{nearest[1]}"
        )
    if squares and (sides[0] != sides[1] or sides[0] not in squares):
        side = min(squares, key=lambda side: abs(side - math.sqrt(sides[0] * sides[1])))
        raise ConfigError(
            f"input size {sides[0]}x{sides[1]}: this detector needs a square with a side of "
            f"{', '.join(map(str, squares[:4]))}, ... pixels; use --size {side}"
        )
    resize = Resize(policy=policy, interpolation=interpolation, antialias=antialias, short_side=short_side)
    return InputSpec(
        size=sides,
        channels=channels,
        resize=resize,
        levels=images.levels,
        max_pixels=max_pixels,
        **asdict(clip or ClipSpec()),
    )
