"""Embeddings that a detector is trained on: computed in one pass; those of videos are stored on disk for later fits."""

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
from offnormal.training.embedding_store import EmbeddedClips, EmbeddingStore, format_key
from offnormal.training.gather import Storage
from offnormal.training.rows import FileRows, RamRows, Rows
from offnormal.training.samples import Order, Portion, Source, StoredBatches, StoredSamples, stack_raw, to_unit
from offnormal.types import Item, Sample

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class StoredEmbeddings(StoredSamples):
    """Embedded samples, each with random views in the rows after it; an epoch draws one of these rows at random."""

    views: int = 0  # in addition to the sample itself

    def epoch(self, order: Order) -> Generator[Portion, None, None]:
        """Yield the portions of one pass in random order."""
        drawn = np.random.default_rng((order.seed, order.epoch, 2)).integers(self.views + 1, size=(len(self), 1))
        row_numbers = self.row_numbers + drawn
        for chosen, whole in order.rows(len(self)):
            embeddings = stack_raw([self.rows[int(row_numbers[number, 0])] for number in chosen])
            yield Portion(embeddings, [self.samples[number] for number in chosen], whole)

    def loader(self, batch_size: int) -> Batches:
        """Return the samples in fixed order, each followed by its views."""
        sample_numbers = np.repeat(np.arange(len(self)), self.views + 1)
        row_numbers = np.arange(len(sample_numbers))[:, None]
        frames = None if self.frames is None else self.frames[sample_numbers]
        samples = [self.samples[number] for number in sample_numbers]
        return StoredBatches(StoredSamples(self.rows, row_numbers, samples, frames), batch_size)


@dataclass(slots=True, eq=False)
class EmbeddingsThenPixels(Source):
    """Embeddings, and the pixels of the same samples for the fine-tuning stage."""

    embeddings: StoredEmbeddings
    pixels: Source

    def __len__(self) -> int:
        return len(self.embeddings)

    def spread(self, count: int) -> Source:
        """Return at most `count` samples, the same ones as embeddings and as pixels."""
        pixels = self.pixels.spread(count)
        return self if pixels is self.pixels else EmbeddingsThenPixels(self.embeddings.spread(count), pixels)

    def stage_source(self, *, fine_tuning: bool) -> Source:
        """Return what an epoch draws from: pixels when fine-tuning, else embeddings."""
        return self.pixels if fine_tuning else self.embeddings

    def epoch(self, order: Order) -> Generator[Portion, None, None]:
        """Yield the embedded portions of one pass in random order."""
        yield from self.embeddings.epoch(order)

    def loader(self, batch_size: int) -> Batches:
        """Return the embedded samples in fixed order."""
        return self.embeddings.loader(batch_size)

    def mark_shared(self) -> None:
        """Called once all processes have opened the samples."""
        self.embeddings.mark_shared()
        self.pixels.mark_shared()

    def close(self) -> None:
        """Free the storage."""
        self.embeddings.close()
        self.pixels.close()


@dataclass(slots=True, kw_only=True)
class EmbeddingPass:
    """Embeds the samples of loaders; counts how many embeddings were computed and how many were read from disk."""

    detector: EmbeddedDetector  # on the device, in eval mode
    device: torch.device
    batch_size: int
    storage: Storage
    store: EmbeddingStore | None = None
    computed: int = 0  # embeddings
    cached: int = 0  # embeddings that were read from disk
    _in_memory: dict[str, EmbeddedClips] = field(default_factory=dict)  # of one video that several loaders share

    def embed(self, loader: Loader, views: int) -> tuple[StoredEmbeddings, list[Skipped]]:
        """Embed the samples of a loader, each with `views` views; also return the unreadable files.

        Raises DataError if no sample can be read.
        """
        rows: Rows | None = None
        samples: list[Sample] = []
        frames: list[list[int]] = []
        try:
            embedded_samples = (
                self._embed_videos(loader, views)
                if isinstance(loader, VideoLoader)
                else self._embed_images(loader, views)
            )
            for sample, embedded, scored_frames in embedded_samples:
                rows = rows or self._new_rows(len(loader) * embedded.nbytes)
                for view in embedded:
                    rows.add(view)
                samples.append(sample)
                if scored_frames is not None:
                    frames.append(scored_frames)
        except BaseException:
            if rows is not None:
                rows.close()
            raise
        if rows is None:
            reason = f"the normal videos are too short for a clip of {loader.spec.frames} frames; add longer videos"
            if loader.skipped:
                reason = f"no normal sample could be read; the first error: {loader.skipped[0].reason}"
            raise DataError(reason)
        if self.storage.free_bytes is not None:
            self.storage.free_bytes -= rows.nbytes
        if self.store is not None:
            self.store.evict()
        row_numbers = (views + 1) * np.arange(len(samples))[:, None]
        stored = StoredEmbeddings(rows, row_numbers, samples, np.array(frames) if frames else None, views)
        return stored, list(loader.skipped)

    def _new_rows(self, expected: int) -> Rows:
        """Choose memory if `expected` bytes fit, else a file."""
        fits = not self.storage.shared and expected <= (
            frame_cache.RAM_BYTES if self.storage.free_bytes is None else self.storage.free_bytes
        )
        return RamRows() if fits else FileRows(self.storage.folder, shared=self.storage.shared)

    # --- images ---------------------------------------------------------------------------------------------

    def _embed_images(self, loader: Loader, views: int) -> Iterator[tuple[Sample, np.ndarray, None]]:
        number = 0
        for batch in loader:
            pixels = torch.from_numpy(batch.pixels).to(self.device)
            names = [f"{number + i}" for i in range(len(pixels))]
            by_view = [self._compute_view(pixels, view, names) for view in range(views + 1)]
            number += len(pixels)
            for sample, rows in zip(batch.samples, np.stack(by_view, 1), strict=True):
                yield sample, rows, None

    # --- videos ---------------------------------------------------------------------------------------------

    def _embed_videos(self, loader: VideoLoader, views: int) -> Iterator[tuple[Sample, np.ndarray, list[int]]]:
        contents = hash_contents(video.path for video in loader.items)
        view_keys = [(view, self.detector.embedding_key(view)) for view in range(views + 1)]
        keys = {v.path: [self._key(loader, contents[v.path], view_key) for view_key in view_keys] for v in loader.items}
        missing = {path: [v for v, k in enumerate(by_view) if self._read(k) is None] for path, by_view in keys.items()}
        pending = {
            path: _PendingVideo(contents[path], {view: [] for view in views_to_compute})
            for path, views_to_compute in missing.items()
            if views_to_compute
        }
        computed = self._compute_missing(loader, keys, pending)
        with contextlib.closing(computed):
            ready = next(computed, None)
            for video in loader.items:
                new_views: dict[int, EmbeddedClips] = {}
                if missing[video.path]:
                    if ready is None or ready[0] != video.path:
                        continue  # unreadable
                    new_views = ready[1]
                    ready = next(computed, None)
                else:
                    self._report_cached(loader, video, keys[video.path][0])
                keys_of = keys[video.path]
                by_view = [new_views.get(view) or self._require(key, video) for view, key in enumerate(keys_of)]
                yield from _loader_samples(loader, video, by_view)

    def _require(self, key: str, video: Item) -> EmbeddedClips:
        """Read a view that was present when the pass began."""
        if (clips := self._read(key)) is None:
            raise DataError(
                f"{video.path}: its stored embeddings were removed during the fit, perhaps by another program with a "
                "lower --embeddings-gb; run the fit again"
            )
        return clips

    def _report_cached(self, loader: VideoLoader, video: Item, key: str) -> None:
        """Report progress and warnings of a video from disk as reading it would have done."""
        clips = self._require(key, video)
        self.cached += len(clips.frames)
        if loader.progress is not None:
            loader.progress(len(clips.frames))
        for warning in clips.warnings:
            loader.reading.warn(video, warning)

    def _read(self, key: str) -> EmbeddedClips | None:
        return self._in_memory[key] if key in self._in_memory else None if self.store is None else self.store.read(key)

    def _key(self, loader: VideoLoader, content: str, view: tuple[int, str]) -> str:
        """Return the key of a view: its number, and the detector's key for it."""
        number, detector_key = view
        return format_key(
            content=content,
            input=asdict(loader.spec),
            every_s=loader.every_s,
            fps=loader.reading.fps,
            view=number,
            detector=detector_key,
            device=self.device.type,
            torch=torch.__version__,
        )

    def _compute_missing(
        self, loader: VideoLoader, keys: Mapping[Path, Sequence[str]], pending: dict[Path, _PendingVideo]
    ) -> Generator[tuple[Path, dict[int, EmbeddedClips]], None, None]:
        """Compute the missing views; yield and store each video at its end, except videos that failed midway."""
        reader = loader.with_items([video for video in loader.items if video.path in pending])
        reader.progress = loader.progress
        done = 0
        with contextlib.closing(reader.iter_samples()) as clips:
            more = True
            while more:
                chunk = list(islice(clips, self.batch_size))
                more = len(chunk) == self.batch_size
                self._embed_clips([(sample.item.path, clip) for sample, clip in chunk], pending)
                ended, done = reader.summaries[done:], len(reader.summaries)
                for end in ended:  # all of its clips were read, and therefore embedded
                    path = end.video.path
                    views = pending.pop(path).finish(loader.spec.frames, end.warnings)
                    for view, clips_of_view in views.items():
                        self._store(keys[path][view], clips_of_view, share=loader.stretches > 1)
                    yield path, views
        loader.skipped, loader.waited_s = reader.skipped, reader.waited_s

    def _embed_clips(
        self, clips: Sequence[tuple[Path, Clip[ResizedFrame]]], pending: Mapping[Path, _PendingVideo]
    ) -> None:
        for path, clip in clips:
            pending[path].add(clip)
        for view in sorted({view for path, _ in clips for view in pending[path].rows}):
            batch = [(pending[path], clip) for path, clip in clips if view in pending[path].rows]
            raw = stack_raw([clip_pixels(clip) for _, clip in batch])
            names = [f"{video.content} {clip.frames[0].index} {clip.frames[-1].index}" for video, clip in batch]
            embedded = self._compute_view(to_unit(raw.to(self.device)), view, names)
            for (video, _), row in zip(batch, embedded, strict=True):
                video.rows[view].append(row)

    def _store(self, key: str, clips: EmbeddedClips, *, share: bool) -> None:
        if self.store is not None:
            self.store.write(key, clips)
        elif share:
            self._in_memory[key] = clips

    @torch.no_grad()
    def _compute_view(self, pixels: Tensor, view: int, names: Sequence[str]) -> np.ndarray:
        """Return embeddings (N, E) float32. The names of the samples seed their random views."""
        if view:
            seed = self.detector.options.seed
            pixels = self.detector.view(pixels, [zlib.crc32(f"{seed} {view} {name}".encode()) for name in names])
        self.computed += len(pixels)
        return self.detector.embed(pixels).float().cpu().numpy()


@dataclass(slots=True)
class _PendingVideo:
    """Views of a video that are being computed."""

    content: str  # sha256 of the video
    rows: dict[int, list[np.ndarray]]  # view -> embedding (E,) of each clip
    frames: list[list[int]] = field(default_factory=list)
    times_s: list[list[float]] = field(default_factory=list)

    def add(self, clip: Clip[ResizedFrame]) -> None:
        """Add the frame indices and times of the next clip."""
        self.frames.append([frame.index for frame in clip.frames])
        self.times_s.append([np.nan if frame.time_s is None else frame.time_s for frame in clip.frames])

    def finish(self, frames: int, warnings: tuple[str, ...]) -> dict[int, EmbeddedClips]:
        """Return view -> all clips, at the end of the video."""
        indices = np.array(self.frames, np.int64).reshape(-1, frames)
        times_s = np.array(self.times_s, np.float64).reshape(-1, frames)
        return {
            view: EmbeddedClips(indices, times_s, np.stack(rows) if rows else np.zeros((0, 0), np.float32), warnings)
            for view, rows in self.rows.items()
        }


@dataclass(frozen=True, slots=True)
class _FrameStamp:
    """A frame without pixels: its index and time only."""

    index: int
    time_s: float | None


def _loader_samples(
    loader: VideoLoader, video: Item, views: Sequence[EmbeddedClips]
) -> Iterator[tuple[Sample, np.ndarray, list[int]]]:
    """Yield the clips of a video that a loader would return, with all of their views."""
    first = views[0]
    for number, (indices, times) in enumerate(zip(first.frames.tolist(), first.times_s.tolist(), strict=True)):
        frames = tuple(
            _FrameStamp(index, None if np.isnan(seconds) else seconds)
            for index, seconds in zip(indices, times, strict=True)
            for index, time_s in zip(indices, times, strict=True)
        )
        clip = Clip(frames, tuple(frames[target] for target in loader.spec.targets))
        sample = loader.make_sample(video, clip)
        if sample is not None:
            yield sample, np.stack([view.embeddings[number] for view in views]), described_frames(clip)
