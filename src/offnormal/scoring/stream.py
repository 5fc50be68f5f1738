"""Frames of one video joined with their scores while it is read: each as soon as no further clip speaks of it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from offnormal.errors import ConfigError
from offnormal.scoring.scorer import Scored
from offnormal.types import Frame, InputSpec


@dataclass(frozen=True, slots=True, eq=False)
class ScoredFrame:
    """One frame with its score and map."""

    frame: Frame
    score: float  # as `align` gives it; NaN where there is none
    map: np.ndarray | None  # (h, w) float32 at input size, the mean where several windows speak of the frame
    held: bool = False  # whether score and map are those of the last scored frame before it


class FrameStream:
    """Joins the frames that were read with the clips that were scored, both of one video and in order.

    Keeps the frames that are still waited for: those of one clip and those that were read ahead. A frame is given
    once a clip arrives whose targets all lie behind it, or at the end. hold: up to hop - 1 frames after a scored one
    are given its score and map too, unless a frame between them is lost.
    """

    def __init__(self, spec: InputSpec, *, hold: bool = False) -> None:
        self.spec = spec
        self._reach = spec.hop - 1 if hold and spec.sampling == "window" else 0
        # by how many frames the next clip's first target lies behind this one's; on a clock a frame may be repeated
        self._moves = int(spec.fps is None or spec.targets in ((-1,), (spec.frames - 1,)))
        self._frames: deque[Frame] = deque()
        self._sums: dict[int, _Sum] = {}
        self._last: ScoredFrame | None = None  # with a score of its own
        self._before = -1  # index of the frame given last

    def see(self, frame: Frame) -> None:
        """Take the next frame, before the clips that it is in; from any thread."""
        self._frames.append(frame)

    def take(self, scored: Scored) -> Iterator[ScoredFrame]:
        """Take the next batch, of this video alone; the frames of which all is known now."""
        if scored.frames is None:
            raise ConfigError("these batches are of pictures: a FrameStream takes those of a VideoLoader")
        scores = scored.scores.score.reshape(len(scored.samples), -1)
        maps = scored.scores.map
        width = scores.shape[1]
        for row, spoken in enumerate(scored.frames.tolist()):
            for column in range(width):
                found = None if maps is None else maps[row * width + column]
                whole = not self.spec.targets  # of the clip as a whole: its first and last frame are told
                for index in range(spoken[0], spoken[-1] + 1) if whole else (spoken[column],):
                    self._sums.setdefault(index, _Sum()).add(float(scores[row, column]), found)
        if len(scored.frames):
            yield from self.until(int(scored.frames[-1].min()) + self._moves)

    def skip(self, spoken: Sequence[int]) -> Iterator[ScoredFrame]:
        """Pass over a clip that was not scored; spoken: the frames that its scores would have spoken of."""
        return self.until(min(spoken) + self._moves)

    def end(self) -> Iterator[ScoredFrame]:
        """The frames that are left."""
        return self.until(None)

    def until(self, stop: int | None) -> Iterator[ScoredFrame]:
        """The frames before `stop`, in order; None: all of them."""
        while self._frames and (stop is None or self._frames[0].index < stop):
            yield self._joined(self._frames.popleft())

    def _joined(self, frame: Frame) -> ScoredFrame:
        torn = frame.index != self._before + 1
        self._before = frame.index
        found = self._sums.pop(frame.index, None)
        if found is not None:
            self._last = found.of(frame)
            return self._last
        if torn:
            self._last = None
        if self._last is not None and frame.index - self._last.frame.index <= self._reach:
            return ScoredFrame(frame, self._last.score, self._last.map, held=True)
        return ScoredFrame(frame, math.nan, None)


@dataclass(slots=True)
class _Sum:
    """Scores and maps of one frame from all windows that speak of it."""

    count: int = 0
    score: float = 0.0
    map: np.ndarray | None = None

    def add(self, score: float, map: np.ndarray | None) -> None:
        self.count += 1
        self.score += score
        if map is not None:
            self.map = map if self.map is None else self.map + map

    def of(self, frame: Frame) -> ScoredFrame:
        mean = self.map if self.map is None or self.count == 1 else self.map / self.count
        return ScoredFrame(frame, float(np.float32(self.score / self.count)), mean)
