"""Many live sources through one detector: batches of their clips -> scored frames and gaps of each, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from offnormal.data.batches import described_frames
from offnormal.data.clips import Clip
from offnormal.data.frame_cache import ResizedFrame
from offnormal.data.live_windows import Ready, live_pixels
from offnormal.scoring.scorer import Scored, Scorer
from offnormal.scoring.stream import FrameStream, ScoredFrame
from offnormal.types import Frame, Gap, Item, Sample, Scores


class LiveScorer:
    """Scores what `LiveBatches` gives; a source's frames are told by `see` before they are pushed into its windows.

    Every frame comes back once, in order, as soon as no further clip speaks of it, without a score where no clip did;
    gaps come where they were. hold: see `FrameStream`. rescore: what becomes of a source's scores before they are
    joined with its frames, such as zones. `see` may be called from any thread, `score` from one.
    """

    def __init__(
        self, scorer: Scorer, *, hold: bool = True, rescore: Callable[[str, Scores], Scores] | None = None
    ) -> None:
        self.scorer = scorer
        self.hold = hold
        self._rescore = rescore
        self._streams: dict[str, _Stream] = {}
        self._lock = threading.Lock()

    def see(self, source: str, item: Frame | Gap) -> None:
        """Take the next frame or gap of a source."""
        self._stream(source).see(item)

    def score(self, batch: Sequence[Ready]) -> Iterator[tuple[str, ScoredFrame | Gap]]:
        """Score one batch; what is known now, with the source of each. A fault changes nothing: see `pass_over`."""
        clips = [(ready.source, ready.item) for ready in batch if not isinstance(ready.item, Gap)]
        scored = iter(list(self._scored(clips)))
        for ready in batch:
            stream = self._stream(ready.source)
            found = stream.end_of_stretch() if isinstance(ready.item, Gap) else stream.take(next(scored))
            for one in found:
                yield ready.source, one

    def pass_over(self, batch: Sequence[Ready]) -> Iterator[tuple[str, ScoredFrame | Gap]]:
        """What is known where a batch cannot be scored: its frames come back without scores of it."""
        for ready in batch:
            stream = self._stream(ready.source)
            found = (
                stream.end_of_stretch() if isinstance(ready.item, Gap) else stream.skip(described_frames(ready.item))
            )
            for one in found:
                yield ready.source, one

    def end(self, source: str) -> Iterator[ScoredFrame | Gap]:
        """What is left of a source that gives no more."""
        return self._stream(source).end()

    def _scored(self, clips: Sequence[tuple[str, Clip[ResizedFrame]]]) -> Iterator[Scored]:
        if not clips:
            return
        scores = self.scorer.score_streams(live_pixels([clip for _, clip in clips]), [source for source, _ in clips])
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
            own = _part(scores, rows)
            if self._rescore is not None:
                own = self._rescore(source, own)
            yield Scored(own, [sample], None, np.array([described_frames(clip)], np.int64))

    def _stream(self, source: str) -> _Stream:
        with self._lock:
            if source not in self._streams:
                self._streams[source] = _Stream(FrameStream(self.scorer.detector.input, hold=self.hold))
            return self._streams[source]


class _Stream:
    """The frames of one source, and the gaps among them by the index of the frame that each follows."""

    def __init__(self, frames: FrameStream) -> None:
        self._frames = frames
        self._gaps: deque[tuple[int, Gap]] = deque()
        self._last = -1

    def see(self, item: Frame | Gap) -> None:
        if isinstance(item, Gap):
            self._gaps.append((self._last, item))
        else:
            self._last = item.index
            self._frames.see(item)

    def take(self, scored: Scored) -> Iterator[ScoredFrame | Gap]:
        return self._with_gaps(self._frames.take(scored))

    def skip(self, spoken: Sequence[int]) -> Iterator[ScoredFrame | Gap]:
        """Pass over a clip that speaks of these frames."""
        return self._with_gaps(self._frames.skip(spoken))

    def end_of_stretch(self) -> Iterator[ScoredFrame | Gap]:
        """What lies before the next gap, and the gap."""
        if self._gaps:
            after, _ = self._gaps[0]
            yield from self._frames.until(after + 1)
            yield self._gaps.popleft()[1]

    def end(self) -> Iterator[ScoredFrame | Gap]:
        yield from self._with_gaps(self._frames.end())
        yield from (self._gaps.popleft()[1] for _ in range(len(self._gaps)))

    def _with_gaps(self, frames: Iterator[ScoredFrame]) -> Iterator[ScoredFrame | Gap]:
        for scored in frames:
            while self._gaps and self._gaps[0][0] < scored.frame.index:
                yield self._gaps.popleft()[1]
            yield scored


def _part(scores: Scores, rows: slice) -> Scores:
    return Scores(
        scores.score[rows],
        None if scores.map is None else scores.map[rows],
        {name: term[rows] for name, term in scores.terms.items()},
    )
