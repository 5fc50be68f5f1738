"""The first pass over the samples: each frame is decoded and resized once and kept, where there is room."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from offnormal.data import frame_cache
from offnormal.data.dataset import Skipped
from offnormal.data.loader import Loader
from offnormal.data.video_loader import CacheKind, VideoLoader, spoken_of
from offnormal.errors import DataError
from offnormal.training.rows import FileRows, RamRows, Rows
from offnormal.training.samples import Kept, Source
from offnormal.training.streams import StreamedPictures, StreamedVideos
from offnormal.types import Sample

log = logging.getLogger(__name__)

_Framed = tuple[Sample, Sequence[tuple[object, np.ndarray]], list[int] | None]  # frames with what tells them apart


@dataclass(slots=True, kw_only=True)
class Room:
    """Where samples may be kept, and how much of it is left."""

    cache: CacheKind
    folder: Path  # of files
    shared: bool = False  # several processes are to use them: they then lie in a file in any case
    left: int | None = None  # bytes; None: as `frame_cache.RAM_BYTES` says, or, of files, as the disk says

    def __post_init__(self) -> None:
        if self.left is None and self.cache == "ram":
            self.left = frame_cache.RAM_BYTES

    def rows(self) -> Rows | None:
        """A new place for frames; None when none are to be kept."""
        if self.cache == "off":
            return None
        return FileRows(self.folder, shared=self.shared) if self.cache == "disk" or self.shared else RamRows()


def gather(loader: Loader | VideoLoader, room: Room) -> tuple[Source, list[Skipped]]:
    """The samples of a loader, kept where there is room for all, else read anew in each epoch; and its bad files.

    Raises DataError when not one can be read.
    """
    found = _Found(room.rows())
    try:
        for sample, frames, targets in _framed(loader):
            found.samples.append(sample)
            if targets is not None:
                found.targets.append(targets)
            if found.rows is not None:
                _keep(found, frames, loader, room)
            if found.rows is None and isinstance(loader, Loader) and loader.on_bad == "stop":
                return StreamedPictures(_silent(loader)), []  # of which all is known
    except BaseException:
        found.drop()
        raise
    bad = {one.path for one in loader.skipped}
    whole = [
        number for number, sample in enumerate(found.samples) if sample.item.path not in bad
    ]  # no video that broke off
    if not whole:
        found.drop()
        raise DataError(f"none of the normal samples can be read, the first: {loader.skipped[0].reason}")
    samples = [found.samples[number] for number in whole]
    if found.rows is not None:
        if room.left is not None:
            room.left -= found.rows.nbytes
        frames_of = np.array(found.targets)[whole] if found.targets else None
        return Kept(found.rows, np.array(found.places)[whole], samples, frames_of), list(loader.skipped)
    if isinstance(loader, Loader):
        pictures = _silent(loader)
        pictures.items, pictures.on_bad = (
            [sample.item for sample in samples],
            "stop",
        )  # every process must get the same ones
        return StreamedPictures(pictures), list(loader.skipped)
    videos = _silent(loader)
    videos.videos = [video for video in videos.videos if video.path not in bad]
    return StreamedVideos(videos, len(samples)), list(loader.skipped)


@dataclass(slots=True)
class _Found:
    """What the pass has given so far."""

    rows: Rows | None  # None: nothing is kept
    samples: list[Sample] = field(default_factory=list)
    targets: list[list[int]] = field(default_factory=list)  # of clips
    places: list[list[int]] = field(default_factory=list)  # rows of the frames of each sample
    known: dict[object, int] = field(default_factory=dict)  # frame -> its row

    def drop(self) -> None:
        """Keep nothing from now on."""
        if self.rows is not None:
            self.rows.close()
            self.rows = None


def _keep(found: _Found, frames: Sequence[tuple[object, np.ndarray]], loader: Loader | VideoLoader, room: Room) -> None:
    """Keep the frames of a sample that are not kept yet, or give up keeping."""
    rows = found.rows
    assert rows is not None
    try:
        for key, pixels in frames:
            if key not in found.known:
                found.known[key] = rows.add(pixels)
    except OSError as error:
        log.warning("%s: samples cannot be kept there (%s): they are decoded anew in every epoch", room.folder, error)
        found.drop()
        return
    found.places.append([found.known[key] for key, _ in frames])
    pictures = isinstance(loader, Loader)  # of which it is known how many there are
    expected = rows.nbytes * (len(loader) / len(found.samples) if pictures else 1)
    if room.left is not None and expected > room.left:
        found.drop()
        log.warning(
            "the samples do not fit into the %.1f GB where they are to be kept: they are decoded anew in every epoch; "
            "a cache on disk has more room (--cache disk)",
            room.left / 2**30,
        )


def _framed(loader: Loader | VideoLoader) -> Iterator[_Framed]:
    """Samples one by one with their frames, each of which has a key of its own."""
    if isinstance(loader, Loader):
        with contextlib.closing(loader.laid()) as pictures:
            for number, (sample, pixels, _) in enumerate(pictures):
                yield sample, [(number, pixels)], None
        return
    with contextlib.closing(loader.laid()) as clips:
        for sample, clip in clips:
            yield sample, [((sample.item.path, frame.index), frame.pixels) for frame in clip.frames], spoken_of(clip)


_AnyLoader = TypeVar("_AnyLoader", Loader, VideoLoader)


def _silent(loader: _AnyLoader) -> _AnyLoader:
    """The same without progress, which belongs to the first pass and cannot go to other processes."""
    other = copy.copy(loader)
    other.progress = None
    return other
