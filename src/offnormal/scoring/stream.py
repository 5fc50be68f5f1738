"""Joins the frames of a video with their scores while it is read; yields each frame once its score is final."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from offnormal.errors import ConfigError
from offnormal.scoring.scorer import ScoredBatch
from offnormal.types import Frame, InputSpec


@dataclass(frozen=True, slots=True, eq=False)
class ScoredFrame:
    """One frame with its score and map."""

    frame: Frame
    score: float  # same value as from `align`; NaN: no score
    map: np.ndarray | None  # (h, w) float32 at input size, mean over all windows that score the frame
    held: bool = False  # True: score and map repeat those of the last scored frame


class FrameStream:
    """Joins decoded frames with scored clips, both of one video and in order.

    Buffers the frames of one clip and those that were prefetched. A frame is yielded when all targets of the latest
    clip come after it, or at the end. hold: repeat the score and map of a scored frame until the next hop, unless a
    frame in between is lost.
    """

    def __init__(self, spec: InputSpec, *, hold: bool = False) -> None:
        self.spec = spec
        self._reach = spec.hop - 1 if hold and spec.sampling == "window" else 0
        # minimum number of frames between the first targets of two clips: 0 when a clock may repeat a frame
        self._advance = int(spec.fps is None or spec.targets in ((-1,), (spec.frames - 1,)))
        self._frames: deque[Frame] = deque()
        self._sums: dict[int, _Sum] = {}
        self._last_scored: ScoredFrame | None = None  # its score is not a held one
        self._last_index = -1  # of the frame yielded last

    def add_frame(self, frame: Frame) -> None:
        """Add the next frame, before the clips that contain it; from any thread."""
        self._frames.append(frame)

    def add_scores(self, scored: ScoredBatch) -> Iterator[ScoredFrame]:
        """Add the next batch, of this video only; yield the frames whose scores are now final."""
        if scored.frames is None:
            raise ConfigError("a batch of images: FrameStream expects batches of a VideoLoader")
        scores = scored.scores.score.reshape(len(scored.samples), -1)
        maps = scored.scores.map
        width = scores.shape[1]
        for row, targets in enumerate(scored.frames.tolist()):
            for column in range(width):
                heat_map = None if maps is None else maps[row * width + column]
                is_whole_clip = not self.spec.targets  # then `targets` are its first and last frame
                for index in range(targets[0], targets[-1] + 1) if is_whole_clip else (targets[column],):
                    self._sums.setdefault(index, _Sum()).add(float(scores[row, column]), heat_map)
        if len(scored.frames):
            yield from self.frames_before(int(scored.frames[-1].min()) + self._advance)

    def skip_clip(self, targets: Sequence[int]) -> Iterator[ScoredFrame]:
        """Skip a clip that was not scored; targets: the frames that it would have scored."""
        return self.frames_before(min(targets) + self._advance)

    def finish(self) -> Iterator[ScoredFrame]:
        """Yield the remaining frames."""
        return self.frames_before(None)

    def frames_before(self, stop: int | None) -> Iterator[ScoredFrame]:
        """Yield the frames before `stop`, in order; None: all of them."""
        while self._frames and (stop is None or self._frames[0].index < stop):
            yield self._with_score(self._frames.popleft())

    def _with_score(self, frame: Frame) -> ScoredFrame:
        follows_loss = frame.index != self._last_index + 1
        self._last_index = frame.index
        total = self._sums.pop(frame.index, None)
        if total is not None:
            self._last_scored = total.mean(frame)
            return self._last_scored
        if follows_loss:
            self._last_scored = None
        if self._last_scored is not None and frame.index - self._last_scored.frame.index <= self._reach:
            return ScoredFrame(frame, self._last_scored.score, self._last_scored.map, held=True)
        return ScoredFrame(frame, math.nan, None)


@dataclass(slots=True)
class _Sum:
    """Sums of the scores and maps of one frame over all windows that score it."""

    count: int = 0
    score: float = 0.0
    map: np.ndarray | None = None

    def add(self, score: float, map: np.ndarray | None) -> None:
        self.count += 1
        self.score += score
        if map is not None:
            self.map = map if self.map is None else self.map + map

    def mean(self, frame: Frame) -> ScoredFrame:
        mean = self.map if self.map is None or self.count == 1 else self.map / self.count
        return ScoredFrame(frame, float(np.float32(self.score / self.count)), mean)
