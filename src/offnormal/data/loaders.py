"""Items -> a loader of their kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict, Unpack

from offnormal.data.batches import Loader, OnError
from offnormal.data.image_loader import ImageLoader
from offnormal.data.video_loader import VideoLoader, VideoOptions
from offnormal.types import InputSpec, Item


class LoadOptions(TypedDict, total=False):
    """What a loader of any kind takes, see `Loader`."""

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
    **options: Unpack[LoadOptions],
) -> Loader:
    """The loader of images or of videos that the items need. videos: further options, used where they are videos."""
    if any(item.is_video for item in items):
        return VideoLoader(items, spec, batch_size=batch_size, **options, **(videos or {}))
    return ImageLoader(items, spec, batch_size=batch_size, **options)
