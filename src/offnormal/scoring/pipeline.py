"""Scores items with a detector, and yields the scores of each image, video, or clip as soon as it is finished.

Maps are not stored. Read them from each batch, or from each image when it is yielded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from offnormal.data.batches import Loader
from offnormal.data.dataset import Skipped
from offnormal.data.video_reading import VideoSummary
from offnormal.scoring.alignment import AlignedScores, UnscoredSpan, align
from offnormal.types import Item, Unit

if TYPE_CHECKING:
    from offnormal.scoring.scorer import ScoredBatch, Scorer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ItemScores:
    """The scores of one item: R rows; one row for an image or clip, and one per frame for a video."""

    item: Item
    score: np.ndarray  # (R,) float32, NaN: a frame without a score
    terms: dict[str, np.ndarray]  # (R,) float32 each
    map: np.ndarray | None = None  # (H, W) float32, images only
    embedding: np.ndarray | None = None  # (D,), clips only
    latent: np.ndarray | None = None  # (L,)
    video: VideoSummary | None = None  # times, gaps, and warnings; videos only
    not_scored: tuple[UnscoredSpan, ...] = ()


def score_items(
    scorer: Scorer,
    loader: Loader,
    *,
    unit: Unit,
    hold: bool = False,
    on_batch: Callable[[ScoredBatch], None] | None = None,
) -> Iterator[ItemScores]:
    """Score the items one after the other; unreadable items are listed in `loader.skipped`.

    unit: what gets one score. hold: see `align`. on_batch: called with the scores, maps, and masks of every batch.
    """
    if unit.is_per_frame:
        yield from _videos(scorer, loader, hold=hold, on_batch=on_batch)
        return
    for scored in scorer.score_batches(loader):
        if on_batch is not None:
            on_batch(scored)
        scores = scored.scores
        for row, sample in enumerate(scored.samples):
            yield ItemScores(
                item=sample.item,
                score=scores.score[row : row + 1],
                terms={name: values[row : row + 1] for name, values in scores.terms.items()},
                map=None if scores.map is None else scores.map[row],
                embedding=None if scores.embedding is None else scores.embedding[row],
                latent=None if scores.latent is None else scores.latent[row],
            )


def was_skipped(item: Item, skipped: list[Skipped]) -> bool:
    """Whether an item was skipped; a damaged video may have been scored in part."""
    return any(skip.path == item.path for skip in skipped)


def _videos(
    scorer: Scorer,
    loader: Loader,
    *,
    hold: bool,
    on_batch: Callable[[ScoredBatch], None] | None,
) -> Iterator[ItemScores]:
    rows: dict[str, _Rows] = {}
    finished_count = 0

    def finished() -> Iterator[ItemScores]:
        nonlocal finished_count
        while finished_count < len(loader.summaries):
            summary = loader.summaries[finished_count]
            finished_count += 1
            yield rows.pop(summary.video.address, _Rows()).finish(summary, loader, hold=hold)

    for scored in scorer.score_batches(loader):
        if on_batch is not None:
            on_batch(scored)
        start = 0
        for address, samples in groupby(scored.samples, key=lambda sample: sample.item.address):
            stop = start + len(list(samples))
            rows.setdefault(address, _Rows()).add(scored, start, stop)
            start = stop
        yield from finished()
    yield from finished()


@dataclass(slots=True)
class _Rows:
    """Collects the scores of the clips of one video."""

    frames: list[np.ndarray] = field(default_factory=list)  # (n, K) each; (n, 2) for clips scored as a whole
    scores: list[np.ndarray] = field(default_factory=list)  # (n, K) each
    terms: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(self, scored: ScoredBatch, start: int, stop: int) -> None:
        """Add the clips `start` to `stop` of a batch."""
        assert scored.frames is not None
        count, frames = len(scored.samples), scored.frames[start:stop]
        score = scored.scores.score.reshape(count, -1)[start:stop]
        self.frames.append(frames)
        self.scores.append(score)
        for name, term in scored.scores.terms.items():
            self.terms.setdefault(name, []).append(term.reshape(count, -1)[start:stop])

    def finish(self, summary: VideoSummary, loader: Loader, *, hold: bool) -> ItemScores:
        """Return one score per frame of the finished video."""
        spec = loader.spec
        hop = spec.hop if loader.every_s is None and spec.sampling == "window" else None
        frames = np.concatenate(self.frames) if self.frames else np.zeros((0, 1), np.int64)

        def align_rows(pieces: list[np.ndarray]) -> AlignedScores:
            rows, targets = np.concatenate(pieces) if pieces else np.zeros((0, 1), np.float32), frames
            if pieces and not spec.targets:
                rows, targets = _repeat_for_frames(rows, frames)
            return align(rows, targets, summary.frames, hop=hop, gaps=summary.gaps, lost=summary.lost, hold=hold)

        score = align_rows(self.scores)
        return ItemScores(
            item=summary.video,
            score=score.score,
            terms={name: align_rows(pieces).score for name, pieces in self.terms.items()},
            video=summary,
            not_scored=tuple(score.reasons),
        )


def _repeat_for_frames(scores: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (R, 1) of whole clips and their first and last frames (R, 2) -> scores and indices (S, 1) per frame."""
    lengths = ends[:, 1] - ends[:, 0] + 1
    frames = np.concatenate([np.arange(first, last + 1) for first, last in ends])
    return np.repeat(scores[:, 0], lengths)[:, None], frames[:, None]
