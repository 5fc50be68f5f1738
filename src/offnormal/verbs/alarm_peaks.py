"""The highest frame of each alarm of a video, found while its frames pass by."""

from __future__ import annotations

from offnormal.metrics.clock import Jumps
from offnormal.scoring import ScoredFrame


class AlarmPeaks:
    """Follows alarms as `metrics.operational` words them and keeps one frame: the highest of the alarm that is on.

    threshold: of the score. merge_gap_s: runs above it that lie no further apart are one alarm.
    """

    def __init__(self, threshold: float, merge_gap_s: float) -> None:
        self.threshold = threshold
        self.merge_gap_s = merge_gap_s
        self._highest: ScoredFrame | None = None
        self._over_s: float | None = None  # when the last run above the threshold ended; None: it is still on
        self._last: tuple[int, float] | None = None  # index and time of the frame before
        self._jumps = Jumps()

    def push(self, found: ScoredFrame, time_s: float, *, thinned: bool = False) -> ScoredFrame | None:
        """Take the next frame; the highest frame of an alarm that is certainly over now.

        thinned: frames are left out on purpose, so that a missing index ends no run.
        """
        self._notice_lost(found.frame.index, time_s, thinned=thinned)
        self._last = found.frame.index, time_s
        highest, near = self._highest, self._over_s is None or time_s - self._over_s <= self.merge_gap_s
        if found.score > self.threshold:
            over = None if highest is None or near else highest
            if highest is None or over is not None or found.score > highest.score:
                self._highest = found
            self._over_s = None
            return over
        if highest is not None and self._over_s is None:
            self._over_s = time_s
        elif not near:
            self._highest, self._over_s = None, None
            return highest
        return None

    def end(self) -> ScoredFrame | None:
        """The highest frame of the alarm that lasts until the end, if one does."""
        highest, self._highest = self._highest, None
        return highest

    def _notice_lost(self, index: int, time_s: float, *, thinned: bool) -> None:
        """A run above the threshold ends with the first frame that was lost, and where the clock jumps."""
        if self._last is None:
            return
        before, before_s = self._last
        usual_s = self._jumps.median_s
        jumped = self._jumps.take((time_s - before_s) / (1 if thinned else index - before))
        if self._highest is None or self._over_s is not None:
            return
        if jumped:
            self._over_s = before_s + usual_s
        elif index > before + 1 and not thinned:
            self._over_s = before_s + (time_s - before_s) / (index - before)
