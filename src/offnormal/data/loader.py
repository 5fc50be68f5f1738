"""Samples -> batches of pixels, read ahead by threads; a bad file stops with its name or is left out and listed."""

from __future__ import annotations

import copy
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from offnormal.data.dataset import Skipped
from offnormal.data.geometry import lay
from offnormal.errors import DataError, ImageError
from offnormal.sources.image import image_size, open_image, open_mask, to_channels
from offnormal.sources.privacy import paint_picture
from offnormal.types import ANOMALOUS, InputSpec, Item, Sample

OnBad = Literal["stop", "skip"]
_Laid = tuple[Sample, np.ndarray, np.ndarray | None]


@dataclass(frozen=True, slots=True)
class Batch:
    """Pixels of N pictures or clips with what is known of them."""

    pixels: Tensor  # (N, C, H, W), of clips (N, C, T, H, W), float32 in 0-1
    samples: list[Sample]
    masks: np.ndarray | None  # (N * K, H, W) bool at input size, one for each score; None when not asked for
    frames: np.ndarray | None = None  # (N, K) frames that the scores speak of, see VideoLoader; None for pictures


class Batches(Protocol):
    """What pictures and videos are learnt and scored from: a Loader or a VideoLoader."""

    batch_size: int
    skipped: list[Skipped]  # bad files of the last pass
    waited_s: float  # seconds its user waited for data in the last pass
    given: int  # samples given in the last pass

    def __len__(self) -> int:
        """Number of samples, or a little more where the data do not say it beforehand."""
        ...

    def __iter__(self) -> Iterator[Batch]: ...

    def only(self, groups: Set[str | None]) -> Self:
        """The same over the samples of these groups alone, without progress."""
        ...


def read_pixels(path: Path, spec: InputSpec) -> np.ndarray:
    """One picture as (C, H, W), uint8, or float32 in 0-1 for deep pictures; ImageError naming a bad file."""
    opened = open_image(path, at_least=_enough(spec))
    try:
        return to_pixels(opened, spec)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def to_pixels(image: Image.Image, spec: InputSpec) -> np.ndarray:
    """A decoded picture, masked: (C, H, W) uint8, or float32 in 0-1 if deep; ImageError for values out of range."""
    pixels = np.asarray(lay(to_channels(paint_picture(image, spec.mask), spec.channels, bits=spec.bits), spec))
    if pixels.ndim == 2:
        return np.broadcast_to(
            pixels.clip(0, 1) if pixels.dtype != np.uint8 else pixels, (spec.channels, *pixels.shape)
        )
    return pixels.transpose(2, 0, 1)


def _enough(spec: InputSpec) -> tuple[int, int] | None:
    """(H, W) below which no picture may be decoded: twice what the filter makes of it; None without antialiasing."""
    if not spec.resize.antialias or spec.resize.interpolation == "nearest":
        return None
    height, width = (spec.resize.short_side,) * 2 if spec.resize.short_side else spec.size
    return 2 * height, 2 * width


def read_mask(path: Path, spec: InputSpec, *, expected: tuple[int, int] | None = None) -> np.ndarray:
    """One mask as (H, W) bool at input size; `open_mask` says what counts as marked.

    expected: (H, W) of the picture it belongs to; DataError when the mask has another size.
    """
    marked = open_mask(path)
    if expected is not None and marked.shape != expected:
        raise DataError(
            f"{path}: the mask is {marked.shape[1]} x {marked.shape[0]} pixels, its picture "
            f"{expected[1]} x {expected[0]}; expected the same size"
        )
    return lay_mask(marked, spec)


def lay_mask(marked: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Marked pixels (H, W) bool of a picture -> those at input size."""
    return np.asarray(lay(Image.fromarray(marked.astype(np.uint8)), spec, mask=True)) > 0


class Loader:
    """Iterates batches in the order of the items; pass over it as often as needed.

    Attributes: `skipped` (bad files of the last pass), `waited_s` (seconds its user waited for data in that pass),
    `given` (samples in it).
    """

    def __init__(
        self,
        items: Sequence[Item],
        spec: InputSpec,
        *,
        batch_size: int,
        masks: bool = False,
        on_bad: OnBad = "stop",
        workers: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.items = list(items)
        self.spec = spec
        self.batch_size = batch_size
        self.masks = masks
        self.on_bad = on_bad
        self.workers = workers or min(8, os.cpu_count() or 1)
        self.progress = progress
        self.skipped: list[Skipped] = []
        self.waited_s = 0.0
        self.given = 0

    def __len__(self) -> int:
        """Number of items, bad ones included."""
        return len(self.items)

    def only(self, groups: Set[str | None]) -> Self:
        """A loader over the items of these groups alone, otherwise the same but without progress."""
        other = copy.copy(self)
        other.items = [item for item in self.items if item.group in groups]
        other.progress, other.skipped, other.waited_s = None, [], 0.0
        return other

    def __iter__(self) -> Iterator[Batch]:
        ready: list[_Laid] = []
        for found in self.laid():
            ready.append(found)
            if len(ready) == self.batch_size:
                yield self._batch(ready)
                ready = []
        if ready:
            yield self._batch(ready)

    def laid(self) -> Generator[_Laid, None, None]:
        """One pass, sample by sample: pixels (C, H, W) as `read_pixels` gives them, and the mask if wanted."""
        self.skipped, self.waited_s, self.given = [], 0.0, 0
        for item, future in self._read_ahead():
            start = time.perf_counter()
            found = None
            try:
                found = future.result()
            except ImageError as error:
                if self.on_bad == "stop":
                    raise ImageError(f"{error}; or leave such files out with --on-bad skip") from None
                self.skipped.append(Skipped(item.path, str(error)))
            self.waited_s += time.perf_counter() - start
            if self.progress is not None:
                self.progress(1)
            if found is not None:
                self.given += 1
                yield Sample(item=item, label=item.label, group=item.group), *found

    def _read_ahead(self) -> Iterator[tuple[Item, Future[tuple[np.ndarray, np.ndarray | None]]]]:
        ahead = 2 * self.batch_size + self.workers
        with ThreadPoolExecutor(self.workers, thread_name_prefix="decode") as pool:
            waiting: deque[tuple[Item, Future[tuple[np.ndarray, np.ndarray | None]]]] = deque()
            try:
                for item in self.items:
                    waiting.append((item, pool.submit(self._read, item)))
                    if len(waiting) > ahead:
                        yield waiting.popleft()
                while waiting:
                    yield waiting.popleft()
            finally:
                for _, future in waiting:
                    future.cancel()

    def _read(self, item: Item) -> tuple[np.ndarray, np.ndarray | None]:
        pixels = read_pixels(item.path, self.spec)
        if not self.masks:
            return pixels, None
        if item.masks is not None:
            return pixels, read_mask(item.masks.path, self.spec, expected=image_size(item.path))
        return pixels, np.zeros(self.spec.size, bool)

    def _batch(self, ready: list[_Laid]) -> Batch:
        arrays = [pixels for _, pixels, _ in ready]
        masks = [mask for _, _, mask in ready if mask is not None]
        return Batch(
            pixels=stack(arrays),
            samples=[sample for sample, _, _ in ready],
            masks=np.stack(masks) if self.masks else None,
        )


def stack(arrays: Sequence[np.ndarray]) -> Tensor:
    """Pictures (C, H, W) or clips (C, T, H, W), uint8 or float32 in 0-1, -> (N, ...) float32 in 0-1."""
    if all(array.dtype == np.uint8 for array in arrays):
        return torch.from_numpy(np.stack(arrays)).float().div_(255)
    scaled = [array.astype(np.float32) / 255 if array.dtype == np.uint8 else array for array in arrays]
    return torch.from_numpy(np.stack(scaled)).float()


def unmasked_anomalies(items: Sequence[Item]) -> list[Item]:
    """Anomalous items without a mask: with them in a set, pixel metrics would call their defects normal."""
    return [item for item in items if item.label == ANOMALOUS and item.masks is None]
