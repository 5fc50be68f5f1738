"""Opens the loader for images or for videos; threads prefetch, decode, and resize images."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self, TypedDict, Unpack

import numpy as np

from offnormal.data.batches import Loader, OnError, Row
from offnormal.data.clips import Clip
from offnormal.data.frame_cache import ResizedFrame
from offnormal.data.images import read_pixels
from offnormal.data.masks import check_mask
from offnormal.data.video_loader import VideoLoader, VideoOptions
from offnormal.sources.image import image_size
from offnormal.sources.mask import open_mask
from offnormal.types import InputSpec, Item, Sample


class _LoadOptions(TypedDict, total=False):
    """Options of every loader, see `Loader`."""

    masks: bool
    on_error: OnError
    workers: int | None
    progress: Callable[[int], None] | None


def open_loader(
    items: Sequence[Item],
    spec: InputSpec,
    *,
    batch_size: int,
    videos: VideoOptions | None = None,
    **options: Unpack[_LoadOptions],
) -> Loader:
    """Open an image or video loader, depending on the items. videos: more options for videos."""
    if any(item.is_video for item in items):
        return VideoLoader(items, spec, batch_size=batch_size, **options, **(videos or {}))
    return ImageLoader(items, spec, batch_size=batch_size, **options)


class ImageLoader(Loader):
    """Loads images in the order of the items, see `Loader`. masks: load the mask of each; empty if it has none."""

    def __len__(self) -> int:
        """Return the number of items, including unreadable ones."""
        return len(self.items)

    def groups(self) -> list[str]:
        """Return all groups, in the order of the items."""
        return list(dict.fromkeys(item.group for item in self.items if item.group is not None))

    def with_groups(self, groups: Set[str | None], *, skip_straddling: bool = False) -> Self:
        """Return a copy, without progress, that loads only items of these groups."""
        return self.without_progress().with_items([item for item in self.items if item.group in groups])

    def _rows(self) -> Generator[Row, None, None]:
        with ThreadPoolExecutor(self.workers, thread_name_prefix="decode") as pool:
            waiting: deque[tuple[Item, Future[ResizedFrame]]] = deque()
            remaining = iter(self.items)
            try:
                while True:
                    while len(waiting) <= 2 * self.batch_size + self.workers and (item := next(remaining, None)):
                        waiting.append((item, pool.submit(self._read_item, item)))
                    if not waiting:
                        return
                    item, future = waiting.popleft()
                    frame = self._next(item, future.result)
                    self._count()
                    if frame is not None:
                        yield Sample(item=item, label=item.label, group=item.group), Clip((frame,), (frame,))
            finally:
                for _, future in waiting:
                    future.cancel()

    def _read_item(self, item: Item) -> ResizedFrame:
        pixels = read_pixels(item.path, self.spec, self.notes)
        mask = check = None
        if self.masks and item.masks is not None:
            path, size = item.masks.path, image_size(item.path, self.spec.max_pixels)
            marked = open_mask(path, self.spec.max_pixels)
            mask, check = check_mask(marked, self.spec, str(path), image_size=size, label=item.label)
        elif self.masks:
            mask = np.zeros(self.spec.size, bool)
        return ResizedFrame(0, None, pixels, mask, check)
