"""Items through a detector: the scores of one image, video, or clip at a time, as soon as it is finished.

No map is kept: whoever needs them looks at each batch, or at each image as it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from offnormal.data.batches import Loader
from offnormal.data.dataset import Skipped
from offnormal.data.video_reading import Ended
from offnormal.scoring.alignment import AlignedScores, Span, align
from offnormal.types import Item, Unit

if TYPE_CHECKING:
    from offnormal.scoring.scorer import Scored, Scorer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ItemScores:
    """Everything that scoring says about one item: R rows, one of an image or clip, one for each frame of a video."""

    item: Item
    score: np.ndarray  # (R,) float32, NaN where a frame has none
    terms: dict[str, np.ndarray]  # (R,) float32 each
    map: np.ndarray | None = None  # (H, W) float32, of an image
    embedding: np.ndarray | None = None  # (D,) of a clip
    latent: np.ndarray | None = None  # (L,)
    video: Ended | None = None  # of a video its times, gaps, and warnings
    not_scored: tuple[Span, ...] = ()


def score_items(
    scorer: Scorer,
    loader: Loader,
    *,
    unit: Unit,
    hold: bool = False,
    on_batch: Callable[[Scored], None] | None = None,
) -> Iterator[ItemScores]:
    """Score item after item; those that cannot be read are in `loader.skipped` and not given.

    unit: what gets one score. hold: see `align`. on_batch: called with the scores, maps, and masks of every batch
    before they are dropped.
    """
    if unit.is_per_frame:
        yield from _videos(scorer, loader, hold=hold, on_batch=on_batch)
        return
    for scored in scorer.over(loader):
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
    """Whether an item turned out to be damaged after some of it was scored."""
    return any(bad.path == item.path for bad in skipped)


def _videos(
    scorer: Scorer,
    loader: Loader,
    *,
    hold: bool,
    on_batch: Callable[[Scored], None] | None,
) -> Iterator[ItemScores]:
    rows: dict[str, _Rows] = {}
    given = 0

    def finished() -> Iterator[ItemScores]:
        nonlocal given
        while given < len(loader.ended):
            ended = loader.ended[given]
            given += 1
            yield rows.pop(ended.video.address, _Rows()).finish(ended, loader, hold=hold)

    for scored in scorer.over(loader):
        if on_batch is not None:
            on_batch(scored)
        start = 0
        for address, samples in groupby(scored.samples, key=lambda sample: sample.item.address):
            stop = start + len(list(samples))
            rows.setdefault(address, _Rows()).take(scored, start, stop)
            start = stop
        yield from finished()
    yield from finished()


@dataclass(slots=True)
class _Rows:
    """Scores of the clips of one video as they come."""

    frames: list[np.ndarray] = field(default_factory=list)  # (n, K) each; of clips as a whole (n, 2)
    scores: list[np.ndarray] = field(default_factory=list)  # (n, K) each
    terms: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def take(self, scored: Scored, start: int, stop: int) -> None:
        """Add the clips `start` to `stop` of a batch."""
        assert scored.frames is not None
        count, frames = len(scored.samples), scored.frames[start:stop]
        score = scored.scores.score.reshape(count, -1)[start:stop]
        self.frames.append(frames)
        self.scores.append(score)
        for name, term in scored.scores.terms.items():
            self.terms.setdefault(name, []).append(term.reshape(count, -1)[start:stop])

    def finish(self, ended: Ended, loader: Loader, *, hold: bool) -> ItemScores:
        """The aligned series of the finished video."""
        spec = loader.spec
        hop = spec.hop if loader.every_s is None and spec.sampling == "window" else None
        frames = np.concatenate(self.frames) if self.frames else np.zeros((0, 1), np.int64)

        def aligned(pieces: list[np.ndarray]) -> AlignedScores:
            rows, targets = np.concatenate(pieces) if pieces else np.zeros((0, 1), np.float32), frames
            if pieces and not spec.targets:
                rows, targets = _spread(rows, frames)
            return align(rows, targets, ended.frames, hop=hop, gaps=ended.gaps, lost=ended.lost, hold=hold)

        score = aligned(self.scores)
        return ItemScores(
            item=ended.video,
            score=score.score,
            terms={name: aligned(pieces).score for name, pieces in self.terms.items()},
            video=ended,
            not_scored=tuple(score.reasons),
        )


def _spread(scores: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (R, 1) of whole clips, and their first and last frames (R, 2), -> (S, 1) scores and frames of each."""
    lengths = ends[:, 1] - ends[:, 0] + 1
    frames = np.concatenate([np.arange(first, last + 1) for first, last in ends])
    return np.repeat(scores[:, 0], lengths)[:, None], frames[:, None]
