"""The alarms of scored frames by the event rules: what watching would raise, for evaluate, predict, and calibrate.

An alarm is an event of `events.machine`; parts of one that grew too long count as one alarm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from offnormal.events.machine import EventMachine, Occurrence
from offnormal.events.rules import EventRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Frames start <= i < stop above the threshold, by the event rules."""

    start: int
    stop: int
    peak: int  # the frame with its highest score
    start_s: float
    end_s: float
    opened_s: float  # when it had lasted long enough to be raised


def find_alarms(
    times_s: np.ndarray, scores: np.ndarray, threshold: float, rules: EventRules, low_threshold: float | None = None
) -> list[Alarm]:
    """Alarms of one series: times (T,) seconds that rise, scores (T,) with NaN where a frame was not scored.

    low_threshold: an alarm ends at or below it; None: at the threshold itself. Raises DataError for times that do not
    rise, ConfigError for a low threshold above the other.
    """
    machine = EventMachine(rules, threshold, low_threshold)
    occurrences = [*machine.over(times_s, scores), *machine.finish()]
    index = {time_s: frame for frame, time_s in enumerate(times_s.tolist())}
    opened: dict[float, float] = {}
    alarms: list[Alarm] = []
    for occurrence in occurrences:
        if not occurrence.is_over:
            opened[occurrence.start_s] = occurrence.end_s
        elif occurrence.continues_s is not None and alarms:
            alarms[-1] = _joined(alarms[-1], occurrence, index, scores, machine.low_threshold)
        else:
            alarms.append(_alarm(occurrence, opened[occurrence.start_s], index, scores, machine.low_threshold))
    return alarms


def _alarm(
    occurrence: Occurrence, opened_s: float, index: dict[float, int], scores: np.ndarray, low: float
) -> Alarm:
    end = index[occurrence.end_s]
    return Alarm(
        start=index[occurrence.start_s],
        stop=end + int(scores[end] > low),  # it ends with the first frame that is low, or with the last there is
        peak=index[occurrence.peak_s],
        start_s=occurrence.start_s,
        end_s=occurrence.end_s,
        opened_s=opened_s,
    )


def _joined(
    before: Alarm, occurrence: Occurrence, index: dict[float, int], scores: np.ndarray, low: float
) -> Alarm:
    after = _alarm(occurrence, before.opened_s, index, scores, low)
    return Alarm(
        start=before.start,
        stop=after.stop,
        peak=after.peak if scores[after.peak] > scores[before.peak] else before.peak,
        start_s=before.start_s,
        end_s=after.end_s,
        opened_s=before.opened_s,
    )
