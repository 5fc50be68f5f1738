"""The event rules as a state machine: one camera's scores over time in, events out.

Each score holds until the next one. An event *opens* when the score has been above the threshold for
`min_duration_s` without a break; it starts where that run started. It *ends* where the score is first at or below the
low threshold or missing (NaN), or where no score follows for longer than `max_gap_s`. It is *closed* when the score has
not been above the threshold again for `merge_gap_s`; otherwise it continues. No event starts until `cool_down_s` after
its end. An event that has lasted for `max_duration_s` is closed and continues as a new one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from offnormal.config.model import VerbConfig
from offnormal.config.rules import RulesConfig
from offnormal.errors import ConfigError, DataError

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_DEFAULT = RulesConfig()
_Time = Annotated[float, Field(ge=-6e10, le=6e10)]  # seconds since 1970 of a date with four digits of the year
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Point = Annotated[list[_Finite], Field(min_length=2, max_length=2)]  # time and score
_MAX_POINTS = 512  # of a peak series


class EventRules(VerbConfig):
    """The rules that the machine applies; all in seconds."""

    min_duration_s: Seconds = _DEFAULT.min_duration
    """An event starts when the score has stayed above the threshold for this long."""
    merge_gap_s: Seconds = _DEFAULT.merge_gap
    """Runs above the threshold that are no further apart than this are one event."""
    cool_down_s: Seconds = _DEFAULT.cool_down
    """No other event starts for this long after the end of one; a run that lasts longer starts an event then."""
    max_duration_s: PositiveSeconds = _DEFAULT.max_duration
    """A longer event is closed and continues as a new one."""
    max_gap_s: PositiveSeconds = _DEFAULT.max_gap
    """An event ends where no score follows for longer than this."""
    incident_gap_s: Seconds = _DEFAULT.incident_gap
    """An event that starts sooner than this after the end of the last one belongs to the same incident."""
    renew_s: PositiveSeconds = _DEFAULT.renew
    """An incident that lasts longer is alerted again, and counts again."""

    @classmethod
    def from_config(cls, config: RulesConfig) -> EventRules:
        """The rules of a configuration, without its hysteresis, which belongs to the threshold."""
        return cls(**{f"{name}_s": value for name, value in config if name != "hysteresis"})


def low_threshold(threshold: float, normals: float, hysteresis: float) -> float:
    """The score at or below which an event ends: below the threshold by a share of its distance to normal scores.

    normals: a typical normal score, such as the median. hysteresis: a share, 0 <= hysteresis < 1; 0: the threshold.
    Raises ConfigError for any other share.

    >>> low_threshold(10.0, 2.0, 0.25)
    8.0
    """
    if not 0 <= hysteresis < 1:
        raise ConfigError(f"hysteresis {hysteresis:g}: expected a share from 0 to less than 1, such as 0.2")
    distance = threshold - normals
    return threshold - hysteresis * distance if math.isfinite(distance) and distance > 0 else threshold


@dataclass(slots=True)
class _PeakSeries:
    """At most 512 points (time, highest score until the next point); no peak is lost.

    When the series grows too long, adjacent points are merged. The points depend only on the scores, not on how they
    were grouped.
    """

    stride: int = 1  # scores per point
    in_last: int = 0  # scores in the last point
    points: Annotated[list[_Point], Field(max_length=_MAX_POINTS)] = field(default_factory=list)

    def add(self, time_s: float, score: float) -> None:
        """Add the next score."""
        if self.points and self.in_last < self.stride:
            self.points[-1][1] = max(self.points[-1][1], score)
            self.in_last += 1
            return
        if len(self.points) == _MAX_POINTS:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [[first[0], max(first[1], second[1])] for first, second in pairs]
            self.stride *= 2
        self.points.append([time_s, score])
        self.in_last = 1

    def since(self, start_s: float) -> tuple[tuple[float, float], ...]:
        """The points, with times relative to `start_s`."""
        return tuple((round(time_s - start_s, 3), score) for time_s, score in self.points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """The machine's report of one event: when it opens, and when it closes."""

    is_over: bool  # if False, the values below are those so far
    start_s: float
    end_s: float
    peak_s: float  # time of the highest score, the first of equal ones
    peak: float
    scores: tuple[tuple[float, float], ...]  # seconds since the start, highest score until the next
    continues_s: float | None  # start of the event that was split and that this one continues


@dataclass(slots=True)
class _Run:
    """The scores of an event, or of a run that may become one."""

    start_s: _Time
    continues_s: _Time | None = None
    peak_s: _Time = -math.inf
    peak: _Finite = -math.inf
    series: _PeakSeries = field(default_factory=_PeakSeries)

    def add(self, time_s: float, score: float) -> None:
        if score > self.peak:
            self.peak_s, self.peak = time_s, score
        self.series.add(time_s, score)

    def to_occurrence(self, end_s: float, *, is_over: bool) -> Occurrence:
        points = self.series.since(self.start_s)
        return Occurrence(
            is_over=is_over,
            start_s=self.start_s,
            end_s=end_s,
            peak_s=self.peak_s,
            peak=self.peak,
            scores=tuple(point for point in points if point[0] <= end_s - self.start_s),
            continues_s=self.continues_s,
        )


class _State(BaseModel):
    """The complete state of a machine."""

    model_config = ConfigDict(allow_inf_nan=False)

    last_s: _Time | None
    end_s: _Time | None
    quiet_until_s: _Time | None
    rising: _Run | None
    open: _Run | None


class EventMachine:
    """Finds the events of one camera with bounded memory.

    threshold: an event opens above it. low_threshold: an event ends at or below it; None: same as threshold.
    The result depends only on times and scores: not on how they are grouped, when `tick` is called, or whether a new
    machine continued from `state` in between. Raises ConfigError if low_threshold is above threshold.
    """

    def __init__(self, rules: EventRules, threshold: float, low_threshold: float | None = None) -> None:
        low = threshold if low_threshold is None else low_threshold
        if not low <= threshold < math.inf:
            raise ConfigError(
                f"threshold {threshold:g} and low threshold {low:g}: expected finite numbers, the second no higher"
            )
        self.rules = rules
        self.threshold, self.low_threshold = threshold, low
        self._last_s: float | None = None  # time of the newest score
        self._rising: _Run | None = None  # above the threshold, not yet for long enough
        self._open: _Run | None = None
        self._end_s: float | None = None  # of the open event, while it may still continue
        self._quiet_until_s = -math.inf

    @property
    def is_open(self) -> bool:
        """Whether an event is open."""
        return self._open is not None

    @property
    def is_rising(self) -> bool:
        """Whether the score is above the threshold, but not yet for long enough."""
        return self._rising is not None

    def push(self, time_s: float, score: float) -> list[Occurrence]:
        """Add the next score, NaN if there is none; return what opened or closed, in order.

        Raises DataError for a time that does not rise, or an infinite score.
        """
        after = -math.inf if self._last_s is None else self._last_s
        if not after < time_s < math.inf or math.isinf(score):
            raise DataError(
                f"score {score:g} at {time_s:.3f} s after {self._last_s} s: expected finite scores and times that "
                "rise; take them from a clock that is never set back"
            )
        occurrences = self.tick(time_s)
        if self._open is not None:
            occurrences += self._continue_event(self._open, time_s, score)
        elif score > self.threshold and time_s >= self._quiet_until_s:
            self._rising = self._rising or _Run(time_s)
            self._rising.add(time_s, score)
            if time_s - self._rising.start_s >= self.rules.min_duration_s:
                self._open, self._rising = self._rising, None
                occurrences.append(self._open.to_occurrence(time_s, is_over=False))
        else:
            self._rising = None
        self._last_s = time_s
        return occurrences

    def push_all(self, times_s: Iterable[float], scores: Iterable[float]) -> list[Occurrence]:
        """Call `push` for each score, in order."""
        pushed = zip(times_s, scores, strict=True)
        return [occurrence for time_s, score in pushed for occurrence in self.push(float(time_s), float(score))]

    def tick(self, time_s: float) -> list[Occurrence]:
        """Declare that no score comes from before this time; return what this closes."""
        if self._last_s is not None and time_s - self._last_s > self.rules.max_gap_s:
            self._rising = None
            if self._open is not None and self._end_s is None:
                self._end_s = self._last_s
        if self._open is not None and self._end_s is not None and time_s - self._end_s > self.rules.merge_gap_s:
            return [self._close(self._open, self._end_s)]
        return []

    def finish(self) -> list[Occurrence]:
        """Close an open event, at the end of a recording or of the program."""
        if self._open is None:
            return []
        end_s = self._end_s if self._end_s is not None else self._last_s
        assert end_s is not None
        return [self._close(self._open, end_s)]

    def state(self) -> dict[str, object]:
        """The complete state, as plain values for JSON."""
        return _State(
            last_s=self._last_s,
            end_s=self._end_s,
            quiet_until_s=None if self._quiet_until_s == -math.inf else self._quiet_until_s,
            rising=self._rising,
            open=self._open,
        ).model_dump()

    def restore(self, state: Mapping[str, object]) -> None:
        """Continue from the `state` of a machine with the same rules and thresholds; ValueError for a damaged one."""
        stored = _State.model_validate(state)
        runs = [run for run in (stored.rising, stored.open) if run is not None]
        last_s = -math.inf if stored.last_s is None else stored.last_s
        is_quiet_too_long = (stored.quiet_until_s or -math.inf) > last_s + self.rules.cool_down_s
        if (
            is_quiet_too_long
            or (stored.end_s or -math.inf) > last_s
            or any(not (run.start_s <= run.peak_s <= last_s and math.isfinite(run.peak)) for run in runs)
        ):
            raise ValueError(f"times or scores that do not belong together (last score at {stored.last_s} s)")
        self._last_s, self._end_s = stored.last_s, stored.end_s
        self._quiet_until_s = -math.inf if stored.quiet_until_s is None else stored.quiet_until_s
        self._rising, self._open = stored.rising, stored.open

    def _continue_event(self, run: _Run, time_s: float, score: float) -> list[Occurrence]:
        """Add the next score of an open event."""
        waiting = self._end_s is not None
        if not score > (self.threshold if waiting else self.low_threshold):
            self._end_s = self._end_s if waiting else time_s
            return []
        if time_s - run.start_s >= self.rules.max_duration_s:
            closed = self._close(run, self._end_s if self._end_s is not None else time_s)
            self._open = _Run(time_s, run.start_s)
            self._open.add(time_s, score)
            return [closed, self._open.to_occurrence(time_s, is_over=False)]
        self._end_s = None
        run.add(time_s, score)
        return []

    def _close(self, run: _Run, end_s: float) -> Occurrence:
        self._open, self._end_s = None, None
        self._quiet_until_s = end_s + self.rules.cool_down_s
        return run.to_occurrence(end_s, is_over=True)
