"""Turn the scores of one camera into events, with its schedule and suppression."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import BaseModel

from offnormal.calibration.calibration import Calibration
from offnormal.errors import DataError
from offnormal.events.event import EventContext, make_event, software
from offnormal.events.incidents import Incidents
from offnormal.events.machine import EventMachine, EventRules, Occurrence
from offnormal.events.schedule import Schedule
from offnormal.types import Event

FORMAT_VERSION = 2  # 2: incidents


class _Incident(BaseModel):
    """The incident of the newest event, and whether that event is alerted."""

    id: str = ""
    is_alerted: bool = True
    alerted_s: float | None = None
    end_s: float | None = None


class _State(BaseModel):
    format_version: int
    context: EventContext
    rules: EventRules
    machine: dict[str, object]
    incident: _Incident


class CameraEvents:
    """Finds the events of one camera. Times are rising seconds since 1970 UTC.

    Outside the schedule, and while suppressed, scores count as missing: no event starts, and an open event ends.
    `suppressed_scores` counts the scores above the threshold that were ignored in this way.

        for event in events.push(time_s, score):     # NaN where there is no score
            ...                                      # state "open", later the same id with state "closed"
        events.tick(now_s)                           # while no scores come; `finish` at the end
    """

    def __init__(
        self,
        context: EventContext,
        rules: EventRules,
        *,
        calibration: Calibration | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        self.context = context
        self.rules = rules
        self.calibration = calibration
        self.schedule = schedule
        self.suppressed_scores = 0
        self._suppressed_until_s = -math.inf
        self._machine = EventMachine(rules, context.threshold, context.low_threshold)
        self._incidents = Incidents(rules.incident_gap_s, rules.renew_s)
        self._incident, self._is_alerted = "", True
        software()  # reads a file, for which there may be no descriptor when the first event starts

    @property
    def is_open(self) -> bool:
        """Whether an event is open."""
        return self._machine.is_open

    def push(self, time_s: float, score: float) -> list[Event]:
        """Add the next score, NaN if there is none; return events that opened or closed, in order."""
        if not math.isnan(score) and self._is_suppressed(time_s):
            self.suppressed_scores += score > self.context.threshold
            score = math.nan
        return self._events(self._machine.push(time_s, score))

    def suppress(self, until_s: float) -> None:
        """Raise no event until a time, for example while the whole scene changes; the latest such time counts."""
        self._suppressed_until_s = max(self._suppressed_until_s, until_s)

    def restart(self) -> list[Event]:
        """Close an open event, because an unknown time passes before the next score."""
        events = self.finish()
        self._machine = EventMachine(self.rules, self.context.threshold, self.context.low_threshold)
        return events

    def tick(self, time_s: float) -> list[Event]:
        """Declare that no score comes from before this time; return events that this closes."""
        return self._events(self._machine.tick(time_s))

    def finish(self) -> list[Event]:
        """Close an open event."""
        return self._events(self._machine.finish())

    def state(self) -> dict[str, object]:
        """The state that a restarted program needs, as plain values for JSON; suppression ends with the program."""
        return _State(
            format_version=FORMAT_VERSION,
            context=self.context,
            rules=self.rules,
            machine=self._machine.state(),
            incident=_Incident(
                id=self._incident,
                is_alerted=self._is_alerted,
                alerted_s=_finite(self._incidents.alerted_s),
                end_s=_finite(self._incidents.end_s),
            ),
        ).model_dump()

    def restore(self, state: Mapping[str, object]) -> list[Event]:
        """Continue from a state; if thresholds, rules, or bundle have changed, close and return the old event.

        Raises DataError for a state in another format, and for a damaged one.
        """
        try:
            if state["format_version"] != FORMAT_VERSION:
                raise DataError(f"state in format {state['format_version']}, this version reads {FORMAT_VERSION}")
            stored = _State.model_validate(state)
            context, rules, incident = stored.context, stored.rules, stored.incident
            self._incident, self._is_alerted = incident.id, incident.is_alerted
            self._incidents.alerted_s = _or_never(incident.alerted_s)
            self._incidents.end_s = _or_never(incident.end_s)
            machine = EventMachine(rules, context.threshold, context.low_threshold)
            machine.restore(stored.machine)
        except (KeyError, ValueError) as error:
            raise DataError(
                f"damaged state of camera {self.context.camera} ({error}); delete it to start without it"
            ) from None
        if (context, rules) == (self.context, self.rules):
            self._machine = machine
            return []
        calibration = self.calibration if context.calibration == self.context.calibration else None
        return [
            make_event(context, rules, calibration, occurrence, incident=incident.id, is_alerted=incident.is_alerted)
            for occurrence in machine.finish()
        ]

    def _is_suppressed(self, time_s: float) -> bool:
        return time_s < self._suppressed_until_s or not (self.schedule is None or self.schedule.is_on(time_s))

    def _events(self, occurrences: list[Occurrence]) -> list[Event]:
        return [self._event(occurrence) for occurrence in occurrences]

    def _event(self, occurrence: Occurrence) -> Event:
        is_new = False
        if occurrence.is_over:
            self._incidents.end_s = occurrence.end_s
        else:
            is_new, self._is_alerted = self._incidents.opens(occurrence.start_s)
        incident = "" if is_new else self._incident
        event = make_event(
            self.context, self.rules, self.calibration, occurrence, incident=incident, is_alerted=self._is_alerted
        )
        self._incident = event.incident
        return event


def _finite(time_s: float) -> float | None:
    return None if time_s == -math.inf else time_s


def _or_never(time_s: float | None) -> float:
    return -math.inf if time_s is None else time_s
