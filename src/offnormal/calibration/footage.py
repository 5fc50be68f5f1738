"""Thresholds for a number of false alarms per hour or day, from normal footage.

Consecutive frames are correlated, so a share of frames does not determine how often an alarm starts. Footage is cut
into blocks longer than most of this correlation. The threshold is an order statistic of the block maxima, as for
images, with the effective number of blocks by their autocorrelation. It guarantees the share of blocks with an alarm
(block maxima of extreme value statistics: Coles, An Introduction to Statistical Modeling of Extreme Values, 2001,
section 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from offnormal.calibration.calibration import Calibration, Kind
from offnormal.calibration.guarantee import (
    effective_length,
    normals_needed,
    order_statistic,
    rate_interval,
    smallest_rate,
)
from offnormal.errors import CalibrationError, duration_text
from offnormal.metrics.video import FrameScores
from offnormal.types import Rate

BLOCK_S = 60.0  # seconds; shorter for rates above one alarm in four blocks
_MIN_FILL = 0.5  # blocks with a smaller share of scored frames, or of seconds, are skipped


@dataclass(frozen=True, slots=True, eq=False)
class BlockMaxima:
    """The highest score of each block of footage, and the effective number of blocks."""

    block_s: float
    blocks: list[list[np.ndarray]]  # for each video, the frames (n,) of its blocks
    maxima: np.ndarray  # (n,)
    effective: float

    @property
    def hours(self) -> float:
        """Hours of footage in the blocks."""
        return len(self.maxima) * self.block_s / 3600

    def share(self, rate: Rate) -> float:
        """Share of blocks with an alarm that a rate allows."""
        return rate.per_hour * self.block_s / 3600

    def smallest(self, rate: Rate) -> Rate:
        """Smallest rate that this footage can guarantee, in the unit of `rate`, rounded up to two digits."""
        value = rate.value / self.share(rate) * smallest_rate(self.effective)
        digits = 1 - math.floor(math.log10(value))
        return replace(rate, value=math.ceil(round(value * 10**digits, 6)) / 10**digits)


def block_seconds(rate: Rate) -> float:
    """Length of the blocks for a rate."""
    return min(BLOCK_S, 3600 / rate.per_hour / 4)


def block_maxima(videos: Sequence[FrameScores], block_s: float) -> BlockMaxima:
    """Cut videos into blocks; CalibrationError for a video without a clock."""
    by_video = [_blocks(video, block_s) for video in videos]
    series = [
        np.array([_maximum(video.scores, block) for block in blocks])
        for video, blocks in zip(videos, by_video, strict=True)
    ]
    maxima = np.concatenate([np.zeros(0), *series])
    return BlockMaxima(block_s, by_video, maxima, effective_length(series) if len(maxima) else 0.0)


def calibrate_footage(
    videos: Sequence[FrameScores],
    peaks: Sequence[np.ndarray] | None,
    *,
    rate: Rate,
    kind: Kind,
    bundle: str,
) -> Calibration:
    """Compute the threshold for a rate of false alarms in time, from the scores of normal videos.

    peaks: for each video, the maximum of each frame's map (T,), for the pixel threshold.
    Raises CalibrationError for a video without a clock, and for too little footage, with the hours needed.
    """
    blocks = block_maxima(videos, block_seconds(rate))
    maxima, effective, share = blocks.maxima, blocks.effective, blocks.share(rate)
    if effective < normals_needed(share):
        raise CalibrationError(
            f"{rate} cannot be guaranteed from {duration_text(3600 * blocks.hours)} of footage"
            + (
                f" (effectively {duration_text(effective * blocks.block_s)}, because its minutes are correlated)"
                if effective < len(maxima)
                else ""
            )
            + f"; it needs {duration_text(normals_needed(share) * blocks.block_s)}. Add normal footage, or set "
            + (f"a rate of {blocks.smallest(rate)} or more" if len(maxima) else "a higher rate")
        )
    k = order_statistic(len(maxima), share, effective)
    pixel = None
    if peaks is not None:
        highest = [_maximum(maps, row) for maps, rows in zip(peaks, blocks.blocks, strict=True) for row in rows]
        pixel = float(np.sort(highest)[k - 1])
    per_block = rate.value / share
    low, high = rate_interval(effective, k * effective / len(maxima))
    scores = np.sort(np.concatenate([video.scores[video.scored] for video in videos]))
    return Calibration(
        kind=kind,
        rate=rate,
        explicit=True,
        threshold=float(np.sort(maxima)[k - 1]),
        pixel_threshold=pixel,
        interval=(low * per_block, high * per_block),
        effective=effective,
        rank=effective + 1 - k * effective / len(maxima),
        groups=len(videos),
        scores=tuple(float(score) for score in scores),
        bundle=bundle,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        block_s=blocks.block_s,
    )


def _blocks(video: FrameScores, block_s: float) -> list[np.ndarray]:
    """Scored frames (n,) of each block of footage that is full enough."""
    clock = video.clock
    if not clock.has_clock:
        raise CalibrationError(f"{video.name}: no clock; a rate in time needs one: set the frame rate with --fps")
    scored = np.flatnonzero(video.scored)
    if not len(scored):
        return []
    position_s = clock.footage_s
    numbers = np.floor((position_s[scored] - position_s[scored[0]]) / block_s).astype(np.int64)
    blocks = [scored[numbers == number] for number in np.unique(numbers)]
    fewest = max(1, math.ceil(_MIN_FILL * max(len(block) for block in blocks)))
    scored_s = np.where(np.isnan(video.held_scores), 0.0, clock.durations_s)
    seconds = np.bincount(np.floor((position_s - position_s[scored[0]]).clip(0) / block_s).astype(np.int64), scored_s)
    return [
        block
        for number, block in zip(np.unique(numbers), blocks, strict=True)
        if len(block) >= fewest and seconds[number] >= _MIN_FILL * block_s
    ]


def _maximum(series: np.ndarray, block: np.ndarray) -> float:
    return float(series[block].max())
