import doctest
import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.events import incidents
from offnormal.events.alarms import find_alarms
from offnormal.events.camera import CameraEvents
from offnormal.events.event import EventContext
from offnormal.events.incidents import alert_times
from offnormal.events.machine import EventRules
from offnormal.metrics.video import FrameScores

CONTEXT = EventContext(camera="porch", source="", threshold=1.0, low_threshold=0.5)


def test_the_example():
    assert doctest.testmod(incidents).attempted == 1
    assert doctest.testmod(incidents).failed == 0


def test_a_visit_is_one_incident_and_a_long_one_counts_again():
    rules = EventRules(incident_gap_s=600, renew_s=1800)
    visit = [(60.0 * minute, 60.0 * minute + 20) for minute in range(20)]
    assert alert_times(visit, rules) == [0]
    assert alert_times([*visit, (1160 + 599.0, 1790)], rules) == [0]
    assert alert_times([*visit, (1160 + 600.0, 1790)], rules) == [0, 1760]
    assert alert_times([(60.0 * minute, 60.0 * minute + 20) for minute in range(90)], rules) == [0, 1800, 3600]
    assert alert_times([(0, 4000)], rules) == [0, 1800, 3600]
    assert alert_times(visit, EventRules(incident_gap_s=0)) == [start_s for start_s, _ in visit]


SCORES = st.lists(st.sampled_from([0.0, 0.0, 0.7, 2.0]), min_size=2, max_size=150)


@settings(max_examples=200)
@given(SCORES, st.sampled_from([0.0, 4.0, 15.0]), st.sampled_from([20.0, 1e6]), st.integers(0, 150))
def test_alerted_events_are_the_incidents_of_the_alarms_also_across_a_restart(scores, gap, renew, stop):
    """Events that last less than `renew_s` have one alert at most, so that the two counts are the same."""
    rules = EventRules(min_duration_s=0, merge_gap_s=2, incident_gap_s=gap, renew_s=renew, max_gap_s=3)
    scores = [score if index % 18 else 0.0 for index, score in enumerate(scores)]
    scores = [0.0 if index % 18 in (0, 1, 2) else score for index, score in enumerate(scores)]
    video = FrameScores("v", scores, times_s=np.arange(float(len(scores))))
    expected = alert_times([(alarm.start_s, alarm.end_s) for alarm in find_alarms(video, 1.0, rules, 0.5)], rules)
    camera, events = CameraEvents(CONTEXT, rules), []
    for index, score in enumerate(scores):
        if index == stop:
            state = json.loads(json.dumps(camera.state()))
            camera = CameraEvents(CONTEXT, rules)
            camera.restore(state)
        events += camera.push(float(index), score)
    events += camera.finish()
    opened = [event for event in events if event.state == "open"]
    assert [event.start.timestamp() for event in opened if event.is_alerted] == expected
    by_id = {event.id: event for event in opened}
    for event in events:
        assert (event.incident, event.is_alerted) == (by_id[event.id].incident, by_id[event.id].is_alerted)
        assert by_id[event.incident].is_alerted
    assert all(event.is_alerted for event in opened if event.incident == event.id)


def test_a_long_event_is_alerted_again_in_a_later_part():
    rules = EventRules(min_duration_s=0, max_duration_s=600, incident_gap_s=600, renew_s=1800)
    camera = CameraEvents(CONTEXT, rules)
    events = [event for second in range(4000) for event in camera.push(float(second), 2.0)]
    opened = [event for event in events if event.state == "open"]
    assert [event.start.timestamp() for event in opened] == [0, 600, 1200, 1800, 2400, 3000, 3600]
    assert [event.start.timestamp() for event in opened if event.is_alerted] == [0, 1800, 3600]
    assert len({event.incident for event in opened}) == 1
