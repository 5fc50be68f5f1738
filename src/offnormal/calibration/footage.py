"""A threshold for a number of false alarms in a time, learnt from normal footage.

Frames that follow each other resemble each other, so that the share of frames says little of how often an alarm
begins. Footage is cut into blocks long enough to hold most of that resemblance; the threshold is an order statistic
of the blocks' highest scores, as for images, with as many blocks as their autocorrelation leaves, and promises the
share of blocks with an alarm (block maxima, as in extreme value statistics: Coles, An Introduction to Statistical
Modeling of Extreme Values, 2001, section 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from offnormal.calibration.calibration import Calibration, Kind
from offnormal.calibration.promise import effective_of_series, normals_needed, order_statistic, rate_interval
from offnormal.errors import CalibrationError
from offnormal.metrics.video import FrameScores
from offnormal.types import Rate

BLOCK_S = 60.0  # seconds; shorter where more alarms are allowed than one in four blocks
_LEAST_FULL = 0.5  # of a block with fewer scored frames than this share of the usual nothing is learnt


def calibrate_footage(
    videos: Sequence[FrameScores],
    peaks: Sequence[np.ndarray] | None,
    *,
    rate: Rate,
    kind: Kind,
    bundle: str,
    fps: float | None = None,
) -> Calibration:
    """Threshold for at most so many false alarms in a time, from the scores of normal videos.

    peaks: for each video the highest map value of every frame (T,), for the pixel threshold. fps: the clock of videos
    that have none of their own.
    Raises CalibrationError when there is too little footage to promise the rate, saying how much it takes.
    """
    block_s = min(BLOCK_S, 3600 / rate.per_hour / 4)
    cut = [_blocks(video, block_s, fps) for video in videos]
    series = [
        np.array([_highest(video.scores, block) for block in blocks]) for video, blocks in zip(videos, cut, strict=True)
    ]
    maxima = np.concatenate([np.zeros(0), *series])
    share = rate.per_hour * block_s / 3600
    effective = effective_of_series(series) if len(maxima) else 0.0
    if effective < normals_needed(share):
        hours = normals_needed(share) * block_s / 3600
        raise CalibrationError(
            f"{rate} cannot be promised from {len(maxima) * block_s / 3600:.2g} h of footage"
            + (
                f", worth {effective * block_s / 3600:.2g} h as its minutes resemble each other"
                if effective < len(maxima)
                else ""
            )
            + f": it needs {hours:.2g} h. Add normal footage, or ask for a higher rate"
        )
    k = order_statistic(len(maxima), share, effective)
    pixel = None
    if peaks is not None:
        highest = [_highest(found, block) for found, blocks in zip(peaks, cut, strict=True) for block in blocks]
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
        groups=len(videos),
        scores=tuple(float(score) for score in scores),
        bundle=bundle,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        block_s=block_s,
    )


def _blocks(video: FrameScores, block_s: float, fps: float | None) -> list[np.ndarray]:
    """Frames (n,) with a score of every block that is full enough."""
    times = video.times_s
    if times is None:
        if fps is None:
            raise CalibrationError(f"{video.name} has no clock, which alarms in a time need: give its rate with --fps")
        times = np.arange(len(video.scores)) / fps
    scored = np.flatnonzero(video.scored & np.isfinite(times))
    if not len(scored):
        return []
    numbers = np.floor((times[scored] - times[scored[0]]) / block_s).astype(np.int64)
    blocks = [scored[numbers == number] for number in np.unique(numbers)]
    usual = max(1, math.ceil(_LEAST_FULL * max(len(block) for block in blocks)))
    spacing = float(np.median(np.diff(times[scored]))) if len(scored) > 1 else 0.0
    return [block for block in blocks if len(block) >= usual and len(block) * spacing >= _LEAST_FULL * block_s]


def _highest(series: np.ndarray, block: np.ndarray) -> float:
    return float(series[block].max())
