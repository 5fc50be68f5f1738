"""Incidents: events of one camera that are close in time. Alerts, budgets, and rates count incidents.

An event that starts less than `incident_gap_s` after the end of the one before belongs to its incident. An incident
that still lasts `renew_s` after its last alert counts again, and the next event of it is alerted again; `watch` splits
a long event, so that there is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from offnormal.events.machine import EventRules


@dataclass(slots=True)
class Incidents:
    """Groups the events of one camera, in order of time, into incidents."""

    incident_gap_s: float
    renew_s: float
    alerted_s: float = -math.inf  # start of the newest event that is alerted
    end_s: float = -math.inf  # of the newest event that is over

    def opens(self, start_s: float) -> tuple[bool, bool]:
        """Whether the event that starts then begins an incident, and whether an alert is due for it."""
        is_new = start_s - self.end_s >= self.incident_gap_s
        is_due = is_new or start_s - self.alerted_s >= self.renew_s
        if is_due:
            self.alerted_s = start_s
        return is_new, is_due

    def renewals(self, end_s: float) -> int:
        """Alerts that were due again for an event that lasted until then."""
        due = int((end_s - self.alerted_s) // self.renew_s)
        self.alerted_s += due * self.renew_s
        return due


def alert_times(events: Iterable[tuple[float, float]], rules: EventRules) -> list[float]:
    """When the alerts of events (start_s, end_s) in order were due: at each time that counts as an incident.

    >>> alert_times([(0, 60), (500, 560), (1200, 5000)], EventRules(incident_gap_s=600, renew_s=1800))
    [0, 1200, 3000.0, 4800.0]
    """
    incidents, times = Incidents(rules.incident_gap_s, rules.renew_s), []
    for start_s, end_s in events:
        if incidents.opens(start_s)[1]:
            times.append(start_s)
        first_s = incidents.alerted_s
        times += [first_s + (number + 1) * rules.renew_s for number in range(incidents.renewals(end_s))]
        incidents.end_s = end_s
    return times
