"""A score over time in bounded memory: when it grows too long, neighbours become one, the higher of them."""

from __future__ import annotations

_MOST = 512  # points kept


class PeakSeries:
    """Points (time, highest score until the next point); no peak is ever lost, and no more than 512 points are kept.

    What is kept depends on the scores alone, not on when they were handed over.
    """

    def __init__(self) -> None:
        self.stride = 1  # scores that one point stands for
        self.points: list[list[float]] = []
        self._in_last = 0

    def add(self, time_s: float, score: float) -> None:
        """Take the next score."""
        if self.points and self._in_last < self.stride:
            self.points[-1][1] = max(self.points[-1][1], score)
            self._in_last += 1
            return
        if len(self.points) == _MOST:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [[first[0], max(first[1], second[1])] for first, second in pairs]
            self.stride *= 2
        self.points.append([time_s, score])
        self._in_last = 1

    def since(self, start_s: float) -> tuple[tuple[float, float], ...]:
        """The points with times counted from `start_s`."""
        return tuple((round(time_s - start_s, 3), score) for time_s, score in self.points)

    def state(self) -> dict[str, object]:
        """Plain values to go on from."""
        return {"stride": self.stride, "in_last": self._in_last, "points": self.points}

    @classmethod
    def of(cls, state: dict[str, object]) -> PeakSeries:
        """The series of a saved state."""
        made = cls()
        made.stride, made._in_last = int(str(state["stride"])), int(str(state["in_last"]))
        points = state["points"]
        assert isinstance(points, list)
        made.points = [[float(time_s), float(score)] for time_s, score in points]
        return made
