"""Scores clips of many live sources with one detector; yields scored frames and gaps, in order for each source."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from offnormal.data.batches import described_frames
from offnormal.data.clips import Clip
from offnormal.data.frame_cache import ResizedFrame
from offnormal.data.live_windows import ReadyItem, stack_clips
from offnormal.scoring.scorer import ScoredBatch, Scorer
from offnormal.scoring.stream import FrameStream, ScoredFrame
from offnormal.types import Frame, Gap, Item, Sample, Scores


class LiveScorer:
    """Scores batches of `LiveBatches`. Call `add` with each frame before it goes into the windows of its source.

    Every frame comes back once, in order, as soon as its score is final; without a score if no clip scores it. Gaps
    keep their position. hold: see `FrameStream`. rescore: changes the scores of a source before they are joined with
    its frames, for example by zones. Call `add` from any thread, and `score` from one.
    """

    def __init__(
        self, scorer: Scorer, *, hold: bool = True, rescore: Callable[[str, Scores], Scores] | None = None
    ) -> None:
        self.scorer = scorer
        self.hold = hold
        self._rescore = rescore
        self._streams: dict[str, _Stream] = {}
        self._lock = threading.Lock()

    def add(self, source: str, item: Frame | Gap) -> None:
        """Add the next frame or gap of a source."""
        self._stream(source).add(item)

    def score(self, batch: Sequence[ReadyItem]) -> Iterator[tuple[str, ScoredFrame | Gap]]:
        """Score one batch; yield what is final now, with its source. An error changes nothing; then call `skip`."""
        clips = [(ready.source, ready.item) for ready in batch if not isinstance(ready.item, Gap)]
        scored = iter(list(self._score_clips(clips)))
        for ready in batch:
            stream = self._stream(ready.source)
            results = stream.finish_segment() if isinstance(ready.item, Gap) else stream.add_scores(next(scored))
            for result in results:
                yield ready.source, result

    def skip(self, batch: Sequence[ReadyItem]) -> Iterator[tuple[str, ScoredFrame | Gap]]:
        """Skip a batch that cannot be scored: its frames come back without its scores."""
        for ready in batch:
            stream = self._stream(ready.source)
            if isinstance(ready.item, Gap):
                results = stream.finish_segment()
            else:
                results = stream.skip_clip(described_frames(ready.item))
            for result in results:
                yield ready.source, result

    def finish(self, source: str) -> Iterator[ScoredFrame | Gap]:
        """Yield the remaining frames and gaps of a source that has ended."""
        return self._stream(source).finish()

    def _score_clips(self, clips: Sequence[tuple[str, Clip[ResizedFrame]]]) -> Iterator[ScoredBatch]:
        if not clips:
            return
        scores = self.scorer.score_streams(stack_clips([clip for _, clip in clips]), [source for source, _ in clips])
        width = len(scores) // len(clips)
        for row, (source, clip) in enumerate(clips):
            last = clip.frames[-1]
            sample = Sample(
                item=Item(address=source, name=source, is_video=True),
                label=None,
                group=None,
                frame=last.index,
                time_s=last.time_s,
            )
            rows = slice(row * width, (row + 1) * width)
            clip_scores = _select_rows(scores, rows)
            if self._rescore is not None:
                clip_scores = self._rescore(source, clip_scores)
            yield ScoredBatch(clip_scores, [sample], None, np.array([described_frames(clip)], np.int64))

    def _stream(self, source: str) -> _Stream:
        with self._lock:
            if source not in self._streams:
                self._streams[source] = _Stream(FrameStream(self.scorer.detector.input, hold=self.hold))
            return self._streams[source]


class _Stream:
    """The frames of one source, and its gaps, each with the index of the frame before it."""

    def __init__(self, frames: FrameStream) -> None:
        self._frames = frames
        self._gaps: deque[tuple[int, Gap]] = deque()
        self._last_index = -1

    def add(self, item: Frame | Gap) -> None:
        if isinstance(item, Gap):
            self._gaps.append((self._last_index, item))
        else:
            self._last_index = item.index
            self._frames.add_frame(item)

    def add_scores(self, scored: ScoredBatch) -> Iterator[ScoredFrame | Gap]:
        return self._with_gaps(self._frames.add_scores(scored))

    def skip_clip(self, targets: Sequence[int]) -> Iterator[ScoredFrame | Gap]:
        return self._with_gaps(self._frames.skip_clip(targets))

    def finish_segment(self) -> Iterator[ScoredFrame | Gap]:
        """Yield the frames before the next gap, then the gap."""
        if self._gaps:
            before_gap, _ = self._gaps[0]
            yield from self._frames.frames_before(before_gap + 1)
            yield self._gaps.popleft()[1]

    def finish(self) -> Iterator[ScoredFrame | Gap]:
        yield from self._with_gaps(self._frames.finish())
        yield from (self._gaps.popleft()[1] for _ in range(len(self._gaps)))

    def _with_gaps(self, frames: Iterator[ScoredFrame]) -> Iterator[ScoredFrame | Gap]:
        for scored in frames:
            while self._gaps and self._gaps[0][0] < scored.frame.index:
                yield self._gaps.popleft()[1]
            yield scored


def _select_rows(scores: Scores, rows: slice) -> Scores:
    return Scores(
        scores.score[rows],
        None if scores.map is None else scores.map[rows],
        {name: term[rows] for name, term in scores.terms.items()},
    )
