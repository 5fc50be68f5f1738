"""Samples as embeddings that a detector learns from: computed in one pass, of videos kept on disk for other fits."""

from __future__ import annotations

import contextlib
import logging
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from offnormal.data import frame_cache
from offnormal.data.batches import Batches, Loader, clip_pixels, described_frames
from offnormal.data.clips import Clip
from offnormal.data.dataset import Skipped, hash_contents
from offnormal.data.frame_cache import ResizedFrame
from offnormal.data.video_loader import VideoLoader
from offnormal.detectors.base import EmbeddedDetector
from offnormal.errors import DataError
from offnormal.training.embedding_store import EmbeddedClips, EmbeddingStore, key_of
from offnormal.training.gather import Room
from offnormal.training.rows import FileRows, RamRows, Rows
from offnormal.training.samples import Kept, KeptBatches, Order, Portion, Source, stack_raw, to_unit
from offnormal.types import Item, Sample

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class KeptEmbeddings(Kept):
    """Embedded samples, each with its views in the rows behind it, one of which an epoch takes at random."""

    views: int = 0  # besides the sample itself

    def epoch(self, order: Order) -> Generator[Portion, None, None]:
        """The portions of a pass in random order."""
        taken = np.random.default_rng((order.seed, order.epoch, 2)).integers(self.views + 1, size=(len(self), 1))
        places = self.places + taken
        for chosen, whole in order.rows(len(self)):
            embeddings = stack_raw([self.rows[int(places[number, 0])] for number in chosen])
            yield Portion(embeddings, [self.samples[number] for number in chosen], whole)

    def loader(self, batch_size: int) -> Batches:
        """The samples in their own order, each followed by its views."""
        number = np.repeat(np.arange(len(self)), self.views + 1)
        places = np.arange(len(number))[:, None]
        frames = None if self.frames is None else self.frames[number]
        return KeptBatches(Kept(self.rows, places, [self.samples[n] for n in number], frames), batch_size)


@dataclass(slots=True, eq=False)
class EmbeddedAtFirst(Source):
    """Embeddings, and pixels of the same samples for when a part of what embeds learns, too."""

    embeddings: KeptEmbeddings
    pixels: Source

    def __len__(self) -> int:
        return len(self.embeddings)

    def spread(self, count: int) -> Source:
        """At most so many of them, the same as embeddings and as pixels."""
        pixels = self.pixels.spread(count)
        return self if pixels is self.pixels else EmbeddedAtFirst(self.embeddings.spread(count), pixels)

    def during(self, *, late: bool) -> Source:
        """What an epoch draws from."""
        return self.pixels if late else self.embeddings

    def epoch(self, order: Order) -> Generator[Portion, None, None]:
        """The portions of a pass in random order, embedded."""
        yield from self.embeddings.epoch(order)

    def loader(self, batch_size: int) -> Batches:
        """The same samples in their own order, embedded."""
        return self.embeddings.loader(batch_size)

    def shared_by_all(self) -> None:
        """Hear that every process that is to use them has them."""
        self.embeddings.shared_by_all()
        self.pixels.shared_by_all()

    def close(self) -> None:
        """Free what they are kept in."""
        self.embeddings.close()
        self.pixels.close()


@dataclass(slots=True, kw_only=True)
class EmbeddingPass:
    """Embeds the samples of loaders; knows what was computed and what was found on disk."""

    detector: EmbeddedDetector  # on the device, in eval mode
    device: torch.device
    batch_size: int
    room: Room
    store: EmbeddingStore | None = None
    computed: int = 0  # embeddings
    found: int = 0  # on disk
    _cut: dict[str, EmbeddedClips] = field(default_factory=dict)  # of a video that several loaders share

    def embed(self, loader: Loader, views: int) -> tuple[KeptEmbeddings, list[Skipped]]:
        """The samples of a loader with so many views each, and its bad files; DataError when not one can be read."""
        rows: Rows | None = None
        samples: list[Sample] = []
        frames: list[list[int]] = []
        try:
            given = self._videos(loader, views) if isinstance(loader, VideoLoader) else self._pictures(loader, views)
            for sample, embedded, spoken in given:
                rows = rows or self._rows(len(loader) * embedded.nbytes)
                for view in embedded:
                    rows.add(view)
                samples.append(sample)
                if spoken is not None:
                    frames.append(spoken)
        except BaseException:
            if rows is not None:
                rows.close()
            raise
        if rows is None:
            why = "the normal videos are too short for a single clip"
            if loader.skipped:
                why = f"none of the normal samples can be read, the first: {loader.skipped[0].reason}"
            raise DataError(why)
        if self.room.left is not None:
            self.room.left -= rows.nbytes
        if self.store is not None:
            self.store.tidy()
        places = (views + 1) * np.arange(len(samples))[:, None]
        kept = KeptEmbeddings(rows, places, samples, np.array(frames) if frames else None, views)
        return kept, list(loader.skipped)

    def _rows(self, expected: int) -> Rows:
        """In memory, where so many bytes are expected to fit, else in a file."""
        fits = not self.room.shared and expected <= (
            frame_cache.RAM_BYTES if self.room.left is None else self.room.left
        )
        return RamRows() if fits else FileRows(self.room.folder, shared=self.room.shared)

    # --- pictures -------------------------------------------------------------------------------------------

    def _pictures(self, loader: Loader, views: int) -> Iterator[tuple[Sample, np.ndarray, None]]:
        number = 0
        for batch in loader:
            pixels = torch.from_numpy(batch.pixels).to(self.device)
            keys = [f"{number + place}" for place in range(len(pixels))]
            made = [self._embedded(pixels, view, keys) for view in range(views + 1)]
            number += len(pixels)
            for sample, rows in zip(batch.samples, np.stack(made, 1), strict=True):
                yield sample, rows, None

    # --- videos ---------------------------------------------------------------------------------------------

    def _videos(self, loader: VideoLoader, views: int) -> Iterator[tuple[Sample, np.ndarray, list[int]]]:
        contents = hash_contents(video.path for video in loader.items)
        by = [(view, self.detector.embedding_key(view)) for view in range(views + 1)]
        keys = {video.path: [self._key(loader, contents[video.path], view) for view in by] for video in loader.items}
        missing = {path: [v for v, key in enumerate(of) if self._read(key) is None] for path, of in keys.items()}
        growing = {
            path: _Growing(contents[path], {view: [] for view in lacking})
            for path, lacking in missing.items()
            if lacking
        }
        made = self._compute(loader, keys, growing)
        with contextlib.closing(made):
            ready = next(made, None)
            for video in loader.items:
                found: dict[int, EmbeddedClips] = {}
                if missing[video.path]:
                    if ready is None or ready[0] != video.path:
                        continue  # it could not be read
                    found = ready[1]
                    ready = next(made, None)
                else:
                    self._told(loader, video, keys[video.path][0])
                read = [found.get(view) or self._kept(key, video) for view, key in enumerate(keys[video.path])]
                yield from _given(loader, video, read)

    def _kept(self, key: str, video: Item) -> EmbeddedClips:
        """A view that was there when the pass began."""
        if (clips := self._read(key)) is None:
            raise DataError(
                f"{video.path}: its embeddings were removed while they were being read, as by another program with a "
                "lower --embeddings-gb; run this again"
            )
        return clips

    def _told(self, loader: VideoLoader, video: Item, key: str) -> None:
        """Tell of a video that was found on disk what reading it would have told."""
        clips = self._kept(key, video)
        self.found += len(clips.frames)
        if loader.progress is not None:
            loader.progress(len(clips.frames))
        for warning in clips.warnings:
            loader.reading.warn(video, warning)

    def _read(self, key: str) -> EmbeddedClips | None:
        return self._cut[key] if key in self._cut else None if self.store is None else self.store.read(key)

    def _key(self, loader: VideoLoader, content: str, view: tuple[int, str]) -> str:
        """view: its number, and what its embeddings depend on of the detector."""
        number, by = view
        return key_of(
            content=content,
            input=asdict(loader.spec),
            every_s=loader.every_s,
            fps=loader.reading.fps,
            view=number,
            by=by,
            device=self.device.type,
            torch=torch.__version__,
        )

    def _compute(
        self, loader: VideoLoader, keys: Mapping[Path, Sequence[str]], growing: dict[Path, _Growing]
    ) -> Generator[tuple[Path, dict[int, EmbeddedClips]], None, None]:
        """The missing views of videos, each as soon as it ends and is stored; those that break off are not given."""
        reader = loader.with_items([video for video in loader.items if video.path in growing])
        reader.progress = loader.progress
        done = 0
        with contextlib.closing(reader.iter_samples()) as clips:
            more = True
            while more:
                some = list(islice(clips, self.batch_size))
                more = len(some) == self.batch_size
                self._embed_clips([(sample.item.path, clip) for sample, clip in some], growing)
                ended, done = reader.summaries[done:], len(reader.summaries)
                for end in ended:  # all of its clips have been taken, hence embedded
                    path = end.video.path
                    made = growing.pop(path).whole(loader.spec.frames, end.warnings)
                    for view, whole in made.items():
                        self._keep(keys[path][view], whole, cut=loader.stretches > 1)
                    yield path, made
        loader.skipped, loader.waited_s = reader.skipped, reader.waited_s

    def _embed_clips(self, clips: Sequence[tuple[Path, Clip[ResizedFrame]]], growing: Mapping[Path, _Growing]) -> None:
        for path, clip in clips:
            growing[path].add(clip)
        for view in sorted({view for path, _ in clips for view in growing[path].rows}):
            mine = [(growing[path], clip) for path, clip in clips if view in growing[path].rows]
            raw = stack_raw([clip_pixels(clip) for _, clip in mine])
            names = [f"{video.content} {clip.frames[0].index} {clip.frames[-1].index}" for video, clip in mine]
            embedded = self._embedded(to_unit(raw.to(self.device)), view, names)
            for (video, _), row in zip(mine, embedded, strict=True):
                video.rows[view].append(row)

    def _keep(self, key: str, clips: EmbeddedClips, *, cut: bool) -> None:
        if self.store is not None:
            self.store.write(key, clips)
        elif cut:
            self._cut[key] = clips

    @torch.no_grad()
    def _embedded(self, pixels: Tensor, view: int, names: Sequence[str]) -> np.ndarray:
        """(N, E) float32; names: of the samples, so that each has views of its own."""
        if view:
            seed = self.detector.options.seed
            pixels = self.detector.view(pixels, [zlib.crc32(f"{seed} {view} {name}".encode()) for name in names])
        self.computed += len(pixels)
        return self.detector.embed(pixels).float().cpu().numpy()


@dataclass(slots=True)
class _Growing:
    """Missing views of a video of which more clips may come."""

    content: str  # sha256 of the video
    rows: dict[int, list[np.ndarray]]  # view -> embedding (E,) of each clip
    frames: list[list[int]] = field(default_factory=list)
    times_s: list[list[float]] = field(default_factory=list)

    def add(self, clip: Clip[ResizedFrame]) -> None:
        """Take the places and times of the next clip."""
        self.frames.append([frame.index for frame in clip.frames])
        self.times_s.append([np.nan if frame.time_s is None else frame.time_s for frame in clip.frames])

    def whole(self, frames: int, warnings: tuple[str, ...]) -> dict[int, EmbeddedClips]:
        """What there is at the end of the video: view -> all of its clips."""
        indices = np.array(self.frames, np.int64).reshape(-1, frames)
        times_s = np.array(self.times_s, np.float64).reshape(-1, frames)
        return {
            view: EmbeddedClips(indices, times_s, np.stack(rows) if rows else np.zeros((0, 0), np.float32), warnings)
            for view, rows in self.rows.items()
        }


@dataclass(frozen=True, slots=True)
class _Place:
    """A frame of which only its place and time are known."""

    index: int
    time_s: float | None


def _given(
    loader: VideoLoader, video: Item, views: Sequence[EmbeddedClips]
) -> Iterator[tuple[Sample, np.ndarray, list[int]]]:
    """The clips of a video that a loader gives, with all of their views."""
    first = views[0]
    for number, (indices, times) in enumerate(zip(first.frames.tolist(), first.times_s.tolist(), strict=True)):
        frames = tuple(
            _Place(index, None if np.isnan(time_s) else time_s) for index, time_s in zip(indices, times, strict=True)
        )
        clip = Clip(frames, tuple(frames[target] for target in loader.spec.targets))
        sample = loader.make_sample(video, clip)
        if sample is not None:
            yield sample, np.stack([view.embeddings[number] for view in views]), described_frames(clip)
