"""Scores of clips -> one score a frame of the video; frames without one are listed with the reason. Pure numpy."""

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


class Span(NamedTuple):
    """Frames without a score of their own."""

    start: int
    stop: int  # exclusive
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class AlignedScores:
    """Scores of the T frames of one video."""

    score: np.ndarray  # (T,) float32, higher = more anomalous; NaN where there is none
    covered: np.ndarray  # (T,) bool: frames with a score of their own, not one held from an earlier frame
    reasons: list[Span]  # in order; together they are exactly the frames that are not covered


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
    """One score a frame: the mean over all windows that speak of it.

    scores, frames: (R, K), of R windows the scores of K frames and the indices of these. total: frames of the video.
    hop: source frames between the starts of two windows; None where they are not evenly apart. gaps: index of the
    first frame after each gap in the video. lost: frames that could not be decoded. hold: give up to hop - 1 frames
    after a scored one its score too, though never across a gap; `reasons` says where.
    Raises DataError for frames outside the video, ConfigError for other shapes and for `hold` without a hop.

    >>> found = align(np.array([[1.0], [3.0]]), np.array([[2], [4]]), 6, hop=2)
    >>> found.score.tolist()
    [nan, nan, 1.0, nan, 3.0, nan]
    >>> [tuple(span) for span in found.reasons]  # doctest: +NORMALIZE_WHITESPACE
    [(0, 2, 'before the first full window'), (3, 4, 'between windows of hop 2'), (5, 6, 'after the last window')]
    """
    if scores.shape != frames.shape or scores.ndim != 2:
        raise ConfigError(f"scores {scores.shape} of frames {frames.shape}: expected (windows, targets) of both")
    if frames.size and not (frames.min() >= 0 and frames.max() < total):
        raise DataError(f"frames {frames.min()} to {frames.max()} were scored of a video of {total} frames")
    if hold and hop is None:
        raise ConfigError("scores cannot be held between windows that are not evenly apart; leave hold out")
    counts = np.bincount(frames.ravel(), minlength=total)
    sums = np.bincount(frames.ravel(), scores.ravel().astype(np.float64), minlength=total)
    score = np.full(total, np.nan, np.float32)
    covered = counts > 0
    score[covered] = sums[covered] / counts[covered]
    reasons: list[Span] = []
    undecoded = np.zeros(total, np.bool_)
    undecoded[list(lost)] = True
    for start, stop in _runs(~covered):
        held = min([start + (hop or 1) - 1, stop, *(gap for gap in gaps if gap >= start)]) if hold and start else start
        if held > start:
            score[start:held] = score[start - 1]
            reasons.append(Span(start, held, f"held score of frame {start - 1}, hop {hop}"))
        if stop > held:
            reason = _reason(start, stop, total, hop, gaps)
            edges = [held, *(np.flatnonzero(np.diff(undecoded[held:stop])) + held + 1).tolist(), stop]
            reasons += [Span(*edge, LOST if undecoded[edge[0]] else reason) for edge in pairwise(edges)]
    return AlignedScores(score, covered, reasons)


def _runs(marked: np.ndarray) -> list[tuple[int, int]]:
    """Start and stop (exclusive) of every run of marked frames (T,)."""
    edges = np.flatnonzero(np.diff(marked.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _reason(start: int, stop: int, total: int, hop: int | None, gaps: Sequence[int]) -> str:
    torn = any(start <= gap <= stop for gap in gaps)
    if start == 0:
        return NEVER if stop == total else EARLY
    if torn:
        return GAP
    if stop == total:
        return LATE
    if hop is None:
        return "between windows"
    return GAP if stop - start >= hop else f"between windows of hop {hop}"
