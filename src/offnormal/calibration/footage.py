"""A threshold for a number of false alarms in a time, learned from normal footage.

Frames that follow each other resemble each other, so that the share of frames says little of how often an alarm
begins. Footage is cut into blocks long enough to hold most of that resemblance; the threshold is an order statistic
of the blocks' highest scores, as for images, with as many blocks as their autocorrelation leaves, and guarantees the
share of blocks with an alarm (block maxima, as in extreme value statistics: Coles, An Introduction to Statistical
Modeling of Extreme Values, 2001, section 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from offnormal.calibration.calibration import Calibration, Kind
from offnormal.calibration.guarantee import (
    effective_of_series,
    normals_needed,
    order_statistic,
    rate_interval,
    smallest_rate,
)
from offnormal.errors import CalibrationError
from offnormal.metrics.video import FrameScores
from offnormal.types import Rate

BLOCK_S = 60.0  # seconds; shorter where more alarms are allowed than one in four blocks
_LEAST_FULL = 0.5  # of a block with fewer scored frames than this share of the usual nothing is learned


@dataclass(frozen=True, slots=True, eq=False)
class BlockMaxima:
    """The highest score of each block of some footage, and how many independent ones they are worth."""

    block_s: float
    cut: list[list[np.ndarray]]  # for each video the frames (n,) of its blocks
    maxima: np.ndarray  # (n,)
    effective: float

    @property
    def hours(self) -> float:
        """Footage in the blocks."""
        return len(self.maxima) * self.block_s / 3600

    def share(self, rate: Rate) -> float:
        """The share of blocks that a number of alarms in a time allows."""
        return rate.per_hour * self.block_s / 3600

    def smallest(self, rate: Rate) -> Rate:
        """The smallest rate, in the unit of another, that so much footage can guarantee; rounded up to two digits."""
        value = rate.value / self.share(rate) * smallest_rate(self.effective)
        digits = 1 - math.floor(math.log10(value))
        return replace(rate, value=math.ceil(round(value * 10**digits, 6)) / 10**digits)


def block_seconds(rate: Rate) -> float:
    """Length of the blocks for a number of alarms in a time."""
    return min(BLOCK_S, 3600 / rate.per_hour / 4)


def block_maxima(videos: Sequence[FrameScores], block_s: float) -> BlockMaxima:
    """Cut videos into blocks; CalibrationError for one without a clock."""
    cut = [_blocks(video, block_s) for video in videos]
    series = [
        np.array([_highest(video.scores, block) for block in blocks]) for video, blocks in zip(videos, cut, strict=True)
    ]
    maxima = np.concatenate([np.zeros(0), *series])
    return BlockMaxima(block_s, cut, maxima, effective_of_series(series) if len(maxima) else 0.0)


def calibrate_footage(
    videos: Sequence[FrameScores],
    peaks: Sequence[np.ndarray] | None,
    *,
    rate: Rate,
    kind: Kind,
    bundle: str,
) -> Calibration:
    """Threshold for at most so many false alarms in a time, from the scores of normal videos.

    peaks: for each video the highest map value of every frame (T,), for the pixel threshold.
    Raises CalibrationError for a video without a clock, and when there is too little footage to guarantee the rate,
    saying how much it takes.
    """
    blocks = block_maxima(videos, block_seconds(rate))
    maxima, effective, share = blocks.maxima, blocks.effective, blocks.share(rate)
    if effective < normals_needed(share):
        raise CalibrationError(
            f"{rate} cannot be guaranteed from {blocks.hours:.2g} h of footage"
            + (
                f", worth {effective * blocks.block_s / 3600:.2g} h as its minutes resemble each other"
                if effective < len(maxima)
                else ""
            )
            + f": it needs {normals_needed(share) * blocks.block_s / 3600:.2g} h. Add normal footage, or ask for "
            + (f"{blocks.smallest(rate)} or more" if len(maxima) else "a higher rate")
        )
    k = order_statistic(len(maxima), share, effective)
    pixel = None
    if peaks is not None:
        highest = [_highest(found, block) for found, cut in zip(peaks, blocks.cut, strict=True) for block in cut]
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
    """Frames (n,) with a score of every block, of seconds that were shown, that is full enough."""
    clock = video.clock
    if not clock.has_clock:
        raise CalibrationError(f"{video.name} has no clock, which alarms in a time need: give its rate with --fps")
    scored = np.flatnonzero(video.scored)
    if not len(scored):
        return []
    shown = clock.shown_s
    numbers = np.floor((shown[scored] - shown[scored[0]]) / block_s).astype(np.int64)
    blocks = [scored[numbers == number] for number in np.unique(numbers)]
    usual = max(1, math.ceil(_LEAST_FULL * max(len(block) for block in blocks)))
    standing = np.where(np.isnan(video.standing), 0.0, clock.durations_s)
    seconds = np.bincount(np.floor((shown - shown[scored[0]]).clip(0) / block_s).astype(np.int64), standing)
    return [
        block
        for number, block in zip(np.unique(numbers), blocks, strict=True)
        if len(block) >= usual and seconds[number] >= _LEAST_FULL * block_s
    ]


def _highest(series: np.ndarray, block: np.ndarray) -> float:
    return float(series[block].max())
