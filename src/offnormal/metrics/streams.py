"""Streams of footage: several videos in order of time, as one series of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from offnormal.metrics.video import FrameScores


@dataclass(frozen=True, slots=True)
class Stream:
    """Videos that follow each other."""

    rows: tuple[int, ...]  # indices of the videos, in order of time
    gaps_s: tuple[float | None, ...]  # (len(rows) - 1,) seconds between the end of one and the start of the next


def divide_by_labels(videos: Sequence[FrameScores], stream: Stream) -> list[Stream]:
    """Divide a stream where labels begin or end, so that one video without labels does not cost those of the others."""
    cuts = [0]
    for number, (before, after) in enumerate(pairwise(videos[row] for row in stream.rows), 1):
        if (before.labels is None) != (after.labels is None):
            cuts.append(number)
    cuts.append(len(stream.rows))
    return [Stream(stream.rows[first:end], stream.gaps_s[first : end - 1]) for first, end in pairwise(cuts)]


def join_series(videos: Sequence[FrameScores], stream: Stream) -> FrameScores:
    """Return the videos of a stream, all with a clock, as one; after a gap of unknown length the clock restarts.

    The result has labels if all videos have them.
    """
    members = [videos[row] for row in stream.rows]
    if len(members) == 1:
        return members[0]
    times, restarts, lost, start, end_s = [], set[int](), set[int](), 0, 0.0
    for video, gap_s in zip(members, (0.0, *stream.gaps_s), strict=True):
        if start and gap_s is None:
            restarts.add(start)
        times.append(video.clock.times_s - video.clock.times_s[0] + end_s + (gap_s or 0.0))
        end_s = float(times[-1][-1] + video.clock.durations_s[-1])
        restarts |= {start + frame for frame in video.restarts}
        lost |= {start + frame for frame in video.lost}
        start += len(video.scores)
    labels = [video.labels for video in members if video.labels is not None]
    return FrameScores(
        f"{members[0].name} to {members[-1].name}",
        np.concatenate([video.scores for video in members]),
        np.concatenate(labels) if len(labels) == len(members) else None,
        np.concatenate(times),
        fps=members[0].fps,
        restarts=restarts,
        is_thinned=members[0].is_thinned,
        lost=lost,
    )
