"""What is counted of one camera while it is watched."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

LAG_BOUNDS_S = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


@dataclass(slots=True)
class Histogram:
    """How many values fell below each bound, as Prometheus has them."""

    bounds: tuple[float, ...] = LAG_BOUNDS_S
    counts: list[int] = field(default_factory=lambda: [0] * (len(LAG_BOUNDS_S) + 1))  # not cumulated; the last: above
    total: float = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(slots=True)
class CameraStatistics:
    """Numbers since the start; written by the threads that watch, read by whoever shows them."""

    lag: Histogram = field(default_factory=Histogram)  # seconds from a frame's arrival to its verdict
    scored: int = 0  # frames with a score
    unscored: int = 0  # frames that no clip speaks of: at the start, beside gaps, dropped
    dropped: int = 0  # clips that gave way to newer ones before they were scored
    inferred: int = 0  # clips
    inference_s: float = 0.0  # of these, each with its share of the batch
    events: Counter[tuple[str, str]] = field(default_factory=Counter)  # by kind and state
    last_score: float | None = None
