"""How long to wait before the next attempt: longer each time up to a cap, and never all at once."""

from __future__ import annotations

import random


class Backoff:
    """Seconds between attempts: doubled each time up to `cap_s`, of which a random half to all is waited."""

    def __init__(self, first_s: float = 1.0, cap_s: float = 60.0) -> None:
        self.first_s, self.cap_s = first_s, cap_s
        self.failures = 0

    def failed(self) -> float:
        """Count a failure; how long to wait now."""
        longest = min(self.cap_s, self.first_s * 2.0 ** min(self.failures, 60))
        self.failures += 1
        return longest * random.uniform(0.5, 1.0)

    def succeeded(self) -> None:
        """Begin anew."""
        self.failures = 0
