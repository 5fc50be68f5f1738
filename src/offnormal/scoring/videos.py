"""A detector over the videos of a loader: one aligned series a video, given as soon as the video is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from offnormal.data.batches import Loader
from offnormal.data.video_reading import Ended
from offnormal.errors import ConfigError
from offnormal.scoring.alignment import AlignedScores, align
from offnormal.scoring.scorer import Scored, Scorer


@dataclass(frozen=True, slots=True, eq=False)
class Peak:
    """One of the frames of a video with the highest scores."""

    frame: int
    score: float  # of the window that scored it highest
    map: np.ndarray | None  # (H, W) float32


@dataclass(frozen=True, slots=True, eq=False)
class VideoScores:
    """Everything that scoring says of one video."""

    ended: Ended  # the video, its number of frames T, their times, gaps and warnings
    aligned: AlignedScores  # (T,)
    parts: dict[str, np.ndarray]  # (T,) float32 each, aligned as the scores are
    peaks: list[Peak]  # highest first


def score_videos(
    scorer: Scorer,
    loader: Loader,
    *,
    hold: bool = False,
    peaks: int = 0,
    apart: int = 1,
    each: Callable[[Scored], None] | None = None,
) -> Iterator[VideoScores]:
    """Score video after video; of maps none but those of the peaks are kept.

    hold: see `align`. peaks: how many of the highest frames of each video are kept with their maps, at least `apart`
    frames from each other. each: called with the scores, maps and masks of every batch before they are dropped.
    Videos that cannot be read are in `loader.skipped` and not given.
    """
    rows: dict[Path, _Rows] = {}
    given = 0

    def finished() -> Iterator[VideoScores]:
        nonlocal given
        while given < len(loader.ended):
            ended = loader.ended[given]
            given += 1
            yield rows.pop(ended.video.path, _Rows()).finish(ended, loader, hold=hold)

    for scored in scorer.over(loader):
        if each is not None:
            each(scored)
        start = 0
        for path, samples in groupby(scored.samples, key=lambda sample: sample.item.path):
            stop = start + len(list(samples))
            rows.setdefault(path, _Rows(_Highest(peaks, apart))).take(scored, start, stop)
            start = stop
        yield from finished()
    yield from finished()


class _Highest:
    """The highest of many frames, no two of them close to each other."""

    def __init__(self, count: int = 0, apart: int = 1) -> None:
        self.count = count
        self.apart = apart
        self.kept: list[Peak] = []

    def offer(self, frame: int, score: float, shown: np.ndarray | None) -> None:
        """Keep the frame if it is among the highest; it takes the place of lower ones close to it."""
        if len(self.kept) == self.count and (not self.kept or score <= self.kept[-1].score):
            return
        near = [peak for peak in self.kept if abs(peak.frame - frame) < self.apart]
        if any(peak.score >= score for peak in near):
            return
        found = Peak(frame, score, None if shown is None else shown.copy())
        kept = [peak for peak in self.kept if all(peak is not other for other in near)]
        self.kept = sorted([*kept, found], key=lambda peak: -peak.score)[: self.count]


@dataclass(slots=True)
class _Rows:
    """Scores of the clips of one video as they come."""

    highest: _Highest = field(default_factory=_Highest)
    frames: list[np.ndarray] = field(default_factory=list)  # (n, K) each; of clips as a whole (n, 2)
    scores: list[np.ndarray] = field(default_factory=list)  # (n, K) each
    parts: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def take(self, scored: Scored, start: int, stop: int) -> None:
        """Add the clips `start` to `stop` of a batch."""
        if scored.frames is None:
            raise ConfigError("these batches are of pictures: score_videos takes those of a VideoLoader")
        count, frames = len(scored.samples), scored.frames[start:stop]
        score = scored.scores.score.reshape(count, -1)[start:stop]
        self.frames.append(frames)
        self.scores.append(score)
        for name, part in scored.scores.parts.items():
            self.parts.setdefault(name, []).append(part.reshape(count, -1)[start:stop])
        if self.highest.count:
            width, maps = score.shape[1], scored.scores.map
            for row in range(len(score)):
                for column in range(width):
                    shown = None if maps is None else maps[(start + row) * width + column]
                    self.highest.offer(int(frames[row, column - width]), float(score[row, column]), shown)

    def finish(self, ended: Ended, loader: Loader, *, hold: bool) -> VideoScores:
        """The aligned series of the finished video."""
        spec, every_s = loader.spec, loader.every_s
        hop = spec.hop if every_s is None and spec.sampling == "window" else None
        frames = np.concatenate(self.frames) if self.frames else np.zeros((0, 1), np.int64)

        def aligned(pieces: list[np.ndarray]) -> AlignedScores:
            rows, spoken = np.concatenate(pieces) if pieces else np.zeros((0, 1), np.float32), frames
            if pieces and not spec.targets:
                rows, spoken = _spread(rows, frames)
            return align(rows, spoken, ended.frames, hop=hop, gaps=ended.gaps, hold=hold)

        parts = {name: aligned(pieces).score for name, pieces in self.parts.items()}
        return VideoScores(ended, aligned(self.scores), parts, self.highest.kept)


def _spread(scores: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (R, 1) of whole clips, and their first and last frames (R, 2), -> (S, 1) scores and frames of each."""
    lengths = ends[:, 1] - ends[:, 0] + 1
    frames = np.concatenate([np.arange(first, last + 1) for first, last in ends])
    return np.repeat(scores[:, 0], lengths)[:, None], frames[:, None]
