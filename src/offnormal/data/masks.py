"""Masks of images and frames at input size: reduced by area without losing a region, and checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offnormal.data.images import Placement, compute_placement
from offnormal.errors import DataError, counted, name_some
from offnormal.sources.mask import open_mask
from offnormal.types import ANOMALOUS, NORMAL, InputSpec

_HALF = 0.5  # of the pixels marked; above it, the mask is probably black on white
_SLIGHT = 0.02  # of a side: what a mask may be cut off by at most
_BORDER = 0.9  # share of the border pixels that black on white marks
_NAMED = 3  # masks named in a note


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskCheck:
    """What reading and resizing a mask found."""

    name: str  # of the file, or of the video and frame
    label: int | None  # of the image: 0 normal, 1 anomalous; None: unknown, or a frame
    share: float  # of the pixels marked
    marks_border: bool
    regions: int  # 8-connected
    resized_regions: int
    scaled_from: tuple[tuple[int, int], tuple[int, int]] | None = None  # (H, W) of mask and image, if they differ


def read_mask(path: Path, spec: InputSpec, *, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a mask as (H, W) bool at input size; see `check_mask`."""
    return check_mask(open_mask(path, spec.max_pixels), spec, str(path), image_size=image_size)[0]


def check_mask(
    marked: np.ndarray,
    spec: InputSpec,
    name: str,
    *,
    image_size: tuple[int, int] | None = None,
    label: int | None = None,
) -> tuple[np.ndarray, MaskCheck]:
    """Resize marked pixels (H, W) bool to the input size, and check them.

    image_size: (H, W) of the image. A mask of another size and the same aspect ratio is scaled; DataError for another
    aspect ratio.
    """
    size = (marked.shape[0], marked.shape[1])
    image_size = image_size or size
    if not _is_same_aspect(size, image_size):
        raise DataError(
            f"{name}: the mask has {size[0]}x{size[1]} pixels, its image {image_size[0]}x{image_size[1]}; expected the "
            "same size, or at least the same aspect ratio: export the mask again"
        )
    regions, count = _label_regions(marked)
    placement = compute_placement(image_size, spec)
    resized = _crop_or_pad(scale_mask(marked, placement.scaled, regions), placement, spec.size)
    border = np.concatenate([marked[0], marked[-1], marked[:, 0], marked[:, -1]])
    return resized, MaskCheck(
        name=name,
        label=label,
        share=float(marked.mean()),
        marks_border=bool(border.mean() >= _BORDER),
        regions=count,
        resized_regions=count if resized is marked else count_regions(resized),
        scaled_from=None if size == image_size else (size, image_size),
    )


def _is_same_aspect(size: tuple[int, int], image_size: tuple[int, int]) -> bool:
    """Whether two sizes (H, W) have the same aspect ratio, within rounding, or 1 pixel if that is little."""
    small, large = sorted((size, image_size), key=max)
    scale = max(small) / max(large)
    return all(
        abs(side - scale * full) <= max(_HALF, min(1, _SLIGHT * side)) for side, full in zip(small, large, strict=True)
    )


def _crop_or_pad(scaled: np.ndarray, placement: Placement, size: tuple[int, int]) -> np.ndarray:
    if placement.scaled == size:
        return scaled
    canvas = np.zeros(size, np.bool_)
    into, out_of = [], []
    for start, length, side in zip((placement.top, placement.left), placement.scaled, size, strict=True):
        first, last = max(start, 0), min(start + side, length)
        out_of.append(slice(first, last))
        into.append(slice(first - start, last - start))
    canvas[tuple(into)] = scaled[tuple(out_of)]
    return canvas


def scale_mask(marked: np.ndarray, size: tuple[int, int], regions: np.ndarray | None = None) -> np.ndarray:
    """Scale marked pixels (H, W) bool to a size: a pixel is marked if half of its area is.

    A region that covers no pixel by half marks the pixels that it covers most, at least half as much as the best one,
    so that no region is lost. regions: number of the 8-connected region of each pixel, if the caller has it.

    >>> scratch = np.zeros((6, 6), dtype=bool)
    >>> scratch[1, :4] = True
    >>> scale_mask(scratch, (2, 2)).astype(int).tolist()
    [[1, 0], [0, 0]]
    """
    if marked.shape == size:
        return marked
    if not marked.any():
        return np.zeros(size, np.bool_)
    regions = _label_regions(marked)[0] if regions is None else regions
    for axis, (source, target) in enumerate(zip(marked.shape, size, strict=True)):
        if target > source:
            regions = regions.take(_centers(target, source), axis)
    marked = regions > 0
    if marked.shape == size:
        return np.asarray(marked)
    rows, columns = (_centers(source, target) for source, target in zip(marked.shape, size, strict=True))
    cells = rows[:, None] * size[1] + columns
    areas = np.outer(np.bincount(rows, minlength=size[0]), np.bincount(columns, minlength=size[1])).ravel()
    scaled = 2 * np.bincount(cells[marked], minlength=areas.size) >= areas
    _restore_regions(regions, cells, areas, scaled)
    return np.asarray(scaled.reshape(size))


def _centers(source: int, target: int) -> np.ndarray:
    """For each of `source` pixels in a row, the pixel of `target` that its center is in."""
    return (2 * np.arange(source) + 1) * target // (2 * source)


def _restore_regions(regions: np.ndarray, cells: np.ndarray, areas: np.ndarray, scaled: np.ndarray) -> None:
    """Mark the best cells of each region that no cell of `scaled` (size,) belongs to."""
    marked = regions > 0
    inside = regions[marked]
    count = int(inside.max())
    survives = np.zeros(count + 1, np.bool_)
    survives[inside[scaled[cells[marked]]]] = True
    if survives[1:].all():
        return
    lost = ~survives[inside]
    pairs, covered = np.unique(inside[lost].astype(np.int64) * areas.size + cells[marked][lost], return_counts=True)
    owners, targets = np.divmod(pairs, areas.size)
    best = np.zeros(count + 1)
    np.maximum.at(best, owners, covered / areas[targets])
    scaled[targets[2 * covered / areas[targets] >= best[owners]]] = True


def count_regions(marked: np.ndarray) -> int:
    """Return the number of 8-connected regions of marked pixels (H, W)."""
    return _label_regions(marked)[1]


def _label_regions(marked: np.ndarray) -> tuple[np.ndarray, int]:
    from scipy import ndimage

    if not marked.any():
        return np.zeros(marked.shape, np.int32), 0
    regions, count = ndimage.label(marked, structure=np.ones((3, 3)))
    return regions, int(count)


_Problem = tuple[str, str, str]  # of one mask, of several, and advice


def _problems(check: MaskCheck) -> Iterator[_Problem]:
    if not check.share and check.label == ANOMALOUS:
        yield "marks no pixel, though its image is anomalous", "mark no pixel, though their images are anomalous", ""
    if check.share and check.label == NORMAL:
        yield "marks pixels, though its image is normal", "mark pixels, though their images are normal", ""
    if check.share > _HALF:
        border = ", and the border, as if the anomalies were black on white" if check.marks_border else ""
        many = f"more than half of the pixels{border}"
        yield f"marks {many}", f"mark {many}", "; if they are, invert the masks" if border else ""
    if check.scaled_from is not None:
        sizes = " (the first from {0[0]}x{0[1]} to {1[0]}x{1[1]})"
        yield "has another size than its image, and was scaled", "have other sizes, and were scaled", sizes


class MaskSummary:
    """What the checks of all masks say together, in memory that does not depend on their number."""

    def __init__(self) -> None:
        self.count = self.regions = self.resized_regions = 0
        self._affected: dict[_Problem, tuple[int, list[MaskCheck]]] = {}  # number, and the first few

    def add(self, check: MaskCheck) -> None:
        """Count one mask."""
        self.count += 1
        self.regions += check.regions
        self.resized_regions += check.resized_regions
        for problem in _problems(check):
            count, first = self._affected.get(problem, (0, []))
            self._affected[problem] = count + 1, [*first, check][:_NAMED]

    def notes(self) -> list[str]:
        """Return what the user should know about the masks before believing the pixel metrics.

        >>> summary = MaskSummary()
        >>> summary.add(MaskCheck(name="a.png", label=1, share=0, marks_border=False, regions=0, resized_regions=0))
        >>> summary.notes()
        ['1 of 1 mask marks no pixel, though its image is anomalous: a.png']
        """
        notes = []
        for (singular, plural, advice), (count, first) in self._affected.items():
            number = f"{count:,} of {counted(self.count, 'mask')}"
            names = name_some((check.name for check in first), total=count)
            sizes = first[0].scaled_from or ()
            notes.append(f"{number} {singular if count == 1 else plural}: {names}{advice.format(*sizes)}")
        if self.regions != self.resized_regions:
            notes.append(
                f"the masks have {counted(self.regions, 'region')}, at input size {self.resized_regions:,}: close "
                "regions merge, narrow ones divide, and regions outside the crop do not count"
            )
        return notes
