"""Converts clip scores to one score per frame of a video; lists frames without a score, with reasons. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from offnormal.errors import ConfigError, DataError
from offnormal.metrics.video import LOST

EARLY = "before the first full window"
LATE = "after the last window"
NEVER = "no full window"
GAP = "gap in the video"


class UnscoredSpan(NamedTuple):
    """A run of frames that no window scores."""

    start: int
    stop: int  # exclusive
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class AlignedScores:
    """Scores of the T frames of one video."""

    score: np.ndarray  # (T,) float32, higher = more anomalous; NaN where there is none
    covered: np.ndarray  # (T,) bool: scored by a window, not held from an earlier frame
    reasons: list[UnscoredSpan]  # in order; they contain exactly the frames that are not covered


def align(
    scores: np.ndarray,
    frames: np.ndarray,
    total: int,
    *,
    hop: int | None = 1,
    gaps: Sequence[int] = (),
    lost: Sequence[int] = (),
    hold: bool = False,
) -> AlignedScores:
    """Average, for each frame, the scores of all windows that score it.

    scores, frames: (R, K), for R windows the scores and indices of K frames. total: frames of the video.
    hop: source frames between the starts of two windows; None: not constant. gaps: index of the first frame after each
    gap in the video. lost: frames that could not be decoded. hold: repeat the score of a scored frame for up to hop - 1
    frames after it, never across a gap; `reasons` lists these frames.
    Raises DataError for frames outside the video, and ConfigError for other shapes or for `hold` without a hop.

    >>> aligned = align(np.array([[1.0], [3.0]]), np.array([[2], [4]]), 6, hop=2)
    >>> aligned.score.tolist()
    [nan, nan, 1.0, nan, 3.0, nan]
    >>> [tuple(span) for span in aligned.reasons]  # doctest: +NORMALIZE_WHITESPACE
    [(0, 2, 'before the first full window'), (3, 4, 'between windows of hop 2'), (5, 6, 'after the last window')]
    """
    if scores.shape != frames.shape or scores.ndim != 2:
        raise ConfigError(f"scores {scores.shape} and frames {frames.shape}: expected (windows, targets) for both")
    if frames.size and not (frames.min() >= 0 and frames.max() < total):
        raise DataError(f"scores for frames {frames.min()} to {frames.max()}: the video has {total} frames")
    if hold and hop is None:
        raise ConfigError("hold=True with hop=None: expected windows with a constant hop; use hold=False")
    counts = np.bincount(frames.ravel(), minlength=total)
    sums = np.bincount(frames.ravel(), scores.ravel().astype(np.float64), minlength=total)
    score = np.full(total, np.nan, np.float32)
    covered = counts > 0
    score[covered] = sums[covered] / counts[covered]
    reasons: list[UnscoredSpan] = []
    undecoded = np.zeros(total, np.bool_)
    undecoded[list(lost)] = True
    for start, stop in _runs(~covered):
        held = min([start + (hop or 1) - 1, stop, *(gap for gap in gaps if gap >= start)]) if hold and start else start
        if held > start:
            score[start:held] = score[start - 1]
            reasons.append(UnscoredSpan(start, held, f"held score of frame {start - 1}, hop {hop}"))
        if stop > held:
            reason = _reason(start, stop, total, hop, gaps)
            edges = [held, *(np.flatnonzero(np.diff(undecoded[held:stop])) + held + 1).tolist(), stop]
            reasons += [UnscoredSpan(*edge, LOST if undecoded[edge[0]] else reason) for edge in pairwise(edges)]
    return AlignedScores(score, covered, reasons)


def _runs(marked: np.ndarray) -> list[tuple[int, int]]:
    """Start and stop (exclusive) of every run of marked frames (T,)."""
    edges = np.flatnonzero(np.diff(marked.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _reason(start: int, stop: int, total: int, hop: int | None, gaps: Sequence[int]) -> str:
    has_gap = any(start <= gap <= stop for gap in gaps)
    if start == 0:
        return NEVER if stop == total else EARLY
    if has_gap:
        return GAP
    if stop == total:
        return LATE
    if hop is None:
        return "between windows"
    return GAP if stop - start >= hop else f"between windows of hop {hop}"
