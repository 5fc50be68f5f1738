"""The events of one camera: its scores through schedule and suppression into the machine, and whole events out."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import BaseModel

from offnormal.calibration.calibration import Calibration
from offnormal.errors import DataError
from offnormal.events.event import Watched, make_event
from offnormal.events.machine import EventMachine, EventRules, Occurrence
from offnormal.events.schedule import Schedule
from offnormal.types import Event

FORMAT_VERSION = 1


class _State(BaseModel):
    format_version: int
    watched: Watched
    rules: EventRules
    suppressed_until_s: float | None
    machine: dict[str, object]


class CameraEvents:
    """Follows one camera. Times are seconds since 1970 UTC and rise; whoever has another clock converts it.

    Outside the schedule, and while it is suppressed, scores count as missing: nothing begins, and what is open ends.
    `missed` counts the scores above the threshold that were passed over so.

        for event in events.push(time_s, score):     # NaN where there is no score
            ...                                      # state "open", later the same id with state "closed"
        events.tick(now_s)                           # while no scores come; `finish` at the end
    """

    def __init__(
        self,
        watched: Watched,
        rules: EventRules,
        *,
        calibration: Calibration | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        self.watched = watched
        self.rules = rules
        self.calibration = calibration
        self.schedule = schedule
        self.missed = 0
        self._suppressed_until_s = -math.inf
        self._machine = EventMachine(rules, watched.threshold, watched.low_threshold)

    @property
    def is_open(self) -> bool:
        """Whether there is an event that is not over."""
        return self._machine.is_open

    def push(self, time_s: float, score: float) -> list[Event]:
        """Take the next score, NaN where there is none; events that opened or are over, in order."""
        if not math.isnan(score) and self._passed_over(time_s):
            self.missed += score > self.watched.threshold
            score = math.nan
        return self._events(self._machine.push(time_s, score))

    def suppress(self, until_s: float) -> None:
        """Raise nothing until a time, as while the whole scene changes; the latest such time counts."""
        self._suppressed_until_s = max(self._suppressed_until_s, until_s)

    def restart(self) -> list[Event]:
        """Say that nobody knows how much time passed before the next score; what is open is closed."""
        events = self.finish()
        self._machine = EventMachine(self.rules, self.watched.threshold, self.watched.low_threshold)
        return events

    def tick(self, time_s: float) -> list[Event]:
        """Say that nothing more comes from before this time; events that are over by that."""
        return self._events(self._machine.tick(time_s))

    def finish(self) -> list[Event]:
        """Close what is open."""
        return self._events(self._machine.finish())

    def state(self) -> dict[str, object]:
        """What a restarted program needs to go on, as plain values for JSON."""
        quiet = self._suppressed_until_s
        return _State(
            format_version=FORMAT_VERSION,
            watched=self.watched,
            rules=self.rules,
            suppressed_until_s=None if quiet == -math.inf else quiet,
            machine=self._machine.state(),
        ).model_dump()

    def restore(self, state: Mapping[str, object]) -> list[Event]:
        """Go on from a state; if thresholds, rules or the bundle are others now, the old event is closed and returned.

        Raises DataError for a state of another format, or one that is damaged.
        """
        try:
            if state["format_version"] != FORMAT_VERSION:
                raise DataError(f"state in format {state['format_version']}, this version reads {FORMAT_VERSION}")
            stored = _State.model_validate(state)
            watched, rules, quiet = stored.watched, stored.rules, stored.suppressed_until_s
            self._suppressed_until_s = -math.inf if quiet is None else quiet
            machine = EventMachine(rules, watched.threshold, watched.low_threshold)
            machine.restore(stored.machine)
        except (KeyError, ValueError) as error:
            raise DataError(f"damaged state of camera {self.watched.camera} ({error}): start without it") from None
        if (watched, rules) == (self.watched, self.rules):
            self._machine = machine
            return []
        calibration = self.calibration if watched.calibration == self.watched.calibration else None
        return [make_event(watched, rules, calibration, found) for found in machine.finish()]

    def _passed_over(self, time_s: float) -> bool:
        return time_s < self._suppressed_until_s or not (self.schedule is None or self.schedule.is_on(time_s))

    def _events(self, told: list[Occurrence]) -> list[Event]:
        return [make_event(self.watched, self.rules, self.calibration, found) for found in told]
