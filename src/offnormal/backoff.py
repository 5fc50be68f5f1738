"""Exponential backoff with jitter."""

from __future__ import annotations

import random


def delay_s(failures: int, *, first_s: float, cap_s: float, jitter: float, chance: float) -> float:
    """Return the seconds to wait after `failures` consecutive failures (>= 1), doubled each time up to `cap_s`.

    Jitter shortens the wait by up to the share `jitter`. chance: uniform in 0-1.

    >>> [delay_s(failures, first_s=0.5, cap_s=3, jitter=0, chance=0.5) for failures in (1, 2, 3, 4, 5000)]
    [0.5, 1.0, 2.0, 3.0, 3.0]
    """
    return min(cap_s, first_s * 2.0 ** min(failures - 1, 64)) * (1 - jitter * chance)


class Backoff:
    """Seconds between attempts: doubled each time up to `cap_s`, shortened by a random share of up to `jitter`."""

    def __init__(self, first_s: float = 1.0, cap_s: float = 60.0, *, jitter: float = 0.5) -> None:
        self.first_s, self.cap_s, self.jitter = first_s, cap_s, jitter
        self.failures = 0

    def failed(self) -> float:
        """Count a failure and return the seconds to wait."""
        self.failures += 1
        chance = random.random()
        return delay_s(self.failures, first_s=self.first_s, cap_s=self.cap_s, jitter=self.jitter, chance=chance)

    def succeeded(self) -> None:
        """Reset the count."""
        self.failures = 0
