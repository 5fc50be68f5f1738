"""The first pass over the samples: each frame is decoded and resized once and kept, where there is room."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from offnormal.data import frame_cache
from offnormal.data.batches import Loader, Row, described_frames
from offnormal.data.dataset import Skipped
from offnormal.data.loaders import ImageLoader
from offnormal.data.video_loader import CacheKind
from offnormal.errors import DataError
from offnormal.training.rows import FileRows, RamRows, Rows
from offnormal.training.samples import Kept, Source
from offnormal.training.streams import StreamedPictures, StreamedVideos
from offnormal.types import Sample

log = logging.getLogger(__name__)


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


def gather(loader: Loader, room: Room) -> tuple[Source, list[Skipped]]:
    """The samples of a loader, kept where there is room for all, else read anew in each epoch; and its bad files.

    Raises DataError when not one can be read.
    """
    found = _Found(room.rows())
    try:
        with contextlib.closing(loader.iter_samples()) as rows:
            for sample, clip in rows:
                found.samples.append(sample)
                if sample.item.is_video:
                    found.targets.append(described_frames(clip))
                if found.rows is not None:
                    _keep(found, (sample, clip), loader, room)
                if found.rows is None and isinstance(loader, ImageLoader) and loader.on_error == "fail":
                    return StreamedPictures(loader.silent()), []  # of which all is known
    except BaseException:
        found.drop()
        raise
    bad = {one.path for one in loader.skipped}
    whole = [i for i, sample in enumerate(found.samples) if sample.item.path not in bad]  # no video that broke off
    if not whole:
        found.drop()
        raise DataError(f"none of the normal samples can be read, the first: {loader.skipped[0].reason}")
    samples = [found.samples[number] for number in whole]
    if found.rows is not None:
        if room.left is not None:
            room.left -= found.rows.nbytes
        frames_of = np.array(found.targets)[whole] if found.targets else None
        return Kept(found.rows, np.array(found.places)[whole], samples, frames_of), list(loader.skipped)
    if isinstance(loader, ImageLoader):
        pictures = loader.silent().over([sample.item for sample in samples])
        pictures.on_error = "fail"  # every process must get the same ones
        return StreamedPictures(pictures), list(loader.skipped)
    videos = loader.silent()
    videos.items = [video for video in videos.items if video.path not in bad]
    return StreamedVideos(videos, len(samples)), list(loader.skipped)


@dataclass(slots=True)
class _Found:
    """What the pass has given so far."""

    rows: Rows | None  # None: nothing is kept
    samples: list[Sample] = field(default_factory=list)
    targets: list[list[int]] = field(default_factory=list)  # of clips
    places: list[list[int]] = field(default_factory=list)  # rows of the frames of each sample
    known: dict[tuple[str, int], int] = field(default_factory=dict)  # address and frame -> row

    def drop(self) -> None:
        """Keep nothing from now on."""
        if self.rows is not None:
            self.rows.close()
            self.rows = None


def _keep(found: _Found, row: Row, loader: Loader, room: Room) -> None:
    """Keep the frames of a sample that are not kept yet, or give up keeping."""
    rows, (sample, clip) = found.rows, row
    assert rows is not None
    frames = {(sample.item.address, frame.index): frame.pixels for frame in clip.frames}
    try:
        for key, pixels in frames.items():
            if key not in found.known:
                found.known[key] = rows.add(pixels)
    except OSError as error:
        log.warning("%s: samples cannot be kept there (%s): they are decoded anew in every epoch", room.folder, error)
        found.drop()
        return
    found.places.append([found.known[sample.item.address, frame.index] for frame in clip.frames])
    known = isinstance(loader, ImageLoader)  # how many there are
    expected = rows.nbytes * (len(loader) / len(found.samples) if known else 1)
    if room.left is not None and expected > room.left:
        found.drop()
        log.warning(
            "the samples do not fit into the %.1f GB where they are to be kept: they are decoded anew in every epoch; "
            "a cache on disk has more room (--cache disk)",
            room.left / 2**30,
        )
