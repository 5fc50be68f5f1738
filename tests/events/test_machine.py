import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from offnormal.errors import ConfigError, DataError
from offnormal.events.machine import EventMachine, EventRules, low_threshold
from tests.events.naive import naive_events

HIGH, LOW = 2.0, 1.0
NAN = math.nan
score = st.sampled_from([0.0, 1.0, 1.5, 2.0, 2.5, 3.0, NAN])
step = st.sampled_from([0.2, 0.2, 0.2, 0.5, 1.0, 4.0, 12.0])
series = st.lists(st.tuples(step, score), max_size=120)
rules_any = st.builds(
    EventRules,
    min_duration_s=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    merge_gap_s=st.sampled_from([0.0, 0.5, 2.0, 6.0]),
    cool_down_s=st.sampled_from([0.0, 1.0, 8.0]),
    max_duration_s=st.sampled_from([1.5, 5.0, 600.0]),
    max_gap_s=st.sampled_from([0.7, 3.0]),
)


def with_times(steps):
    """Rising times, and scores."""
    return [round(float(t), 3) for t in np.cumsum([gap for gap, _ in steps])], [value for _, value in steps]


def rules(**options):
    return EventRules(**{"min_duration_s": 0, "merge_gap_s": 0, "max_gap_s": 3, **options})


def spans(occurrences):
    return [(event.start_s, event.end_s) for event in occurrences if event.is_over]


def run(scores, *, step_s=1.0, **options):
    machine = EventMachine(rules(**options), HIGH, LOW)
    occurrences = machine.push_all(np.arange(len(scores)) * step_s, scores)
    return occurrences + machine.finish()


@settings(max_examples=400, deadline=None)
@given(series, rules_any)
def test_events_match_the_definition(steps, event_rules):
    times, scores = with_times(steps)
    machine = EventMachine(event_rules, HIGH, LOW)
    occurrences = machine.push_all(times, scores) + machine.finish()
    closed = [(event.start_s, event.end_s, event.peak) for event in occurrences if event.is_over]
    assert closed == naive_events(times, scores, event_rules, HIGH, LOW)
    assert [event.start_s for event in occurrences if not event.is_over] == [start for start, _, _ in closed]


@settings(max_examples=300, deadline=None)
@given(series, rules_any)
def test_no_event_is_lost_and_none_overlap(steps, event_rules):
    times, scores = with_times(steps)
    machine = EventMachine(event_rules, HIGH, LOW)
    events = [event for event in machine.push_all(times, scores) + machine.finish() if event.is_over]
    for before, after in pairwise(events):
        assert before.start_s <= before.end_s <= after.start_s
        gap = after.start_s - before.end_s
        assert after.continues_s == before.start_s or (gap > event_rules.merge_gap_s or gap == 0)
        assert after.continues_s == before.start_s or after.start_s >= before.end_s + event_rules.cool_down_s
    if event_rules.cool_down_s == 0:  # every run that is long enough is covered by events
        start = None
        for i, value in enumerate([*scores, NAN]):
            broken = i < len(times) and start is not None and times[i] - times[i - 1] > event_rules.max_gap_s
            if start is not None and (broken or not value > HIGH):
                if times[i - 1] - times[start] >= event_rules.min_duration_s:
                    inside = [
                        event for event in events if event.end_s >= times[start] and event.start_s <= times[i - 1]
                    ]
                    assert min(event.start_s for event in inside) <= times[start]
                    assert max(event.end_s for event in inside) >= times[i - 1]
                start = None
            if value > HIGH and start is None:
                start = i
    for event in events:
        assert event.end_s - event.start_s <= event_rules.max_duration_s + event_rules.max_gap_s


@settings(max_examples=300, deadline=None)
@given(series, rules_any, st.data())
@example([(0.2, 3.0)] * 12, EventRules(), None)
def test_grouping_ticks_and_restarts_do_not_matter(steps, event_rules, data):
    times, scores = with_times(steps)
    whole = EventMachine(event_rules, HIGH, LOW)
    expected = whole.push_all(times, scores)
    machine, occurrences = EventMachine(event_rules, HIGH, LOW), []
    for i, (time_s, value) in enumerate(zip(times, scores, strict=True)):
        occurrences += machine.push(time_s, value)
        action = data.draw(st.sampled_from(["", "", "tick", "restart"])) if data is not None else "restart"
        if action == "tick":
            following = times[i + 1] if i + 1 < len(times) else time_s
            occurrences += machine.tick(time_s + data.draw(st.floats(0, 1)) * (following - time_s))
        if action == "restart":
            saved = json.loads(json.dumps(machine.state(), allow_nan=False))
            machine = EventMachine(event_rules, HIGH, LOW)
            machine.restore(saved)
    assert occurrences == expected
    assert machine.state() == whole.state() and machine.finish() == whole.finish()


def test_it_opens_after_the_minimum_duration_and_starts_where_the_run_started():
    assert spans(run([0, 3, 3, 0, 0, 3, 3, 3, 3, 0], min_duration_s=3)) == [(5, 9)]
    opened = run([0, 3, 3, 3, 3, 0], min_duration_s=3)[0]
    assert not opened.is_over and (opened.start_s, opened.end_s) == (1, 4)


def test_it_closes_at_the_low_threshold_and_not_before():
    assert spans(run([3, 1.5, 1.2, 3, 1.0, 1.5])) == [(0, 4)]


def test_it_continues_within_the_merge_gap():
    assert spans(run([3, 0, 0, 3, 0, 0, 0, 3, 0], merge_gap_s=2)) == [(0, 4), (7, 8)]


def test_it_is_closed_when_it_can_no_longer_continue():
    machine = EventMachine(rules(merge_gap_s=2), HIGH, LOW)
    assert len(machine.push(0, 3)) == 1 and machine.push(1, 0) == [] and machine.push(3, 0) == []
    assert spans(machine.push(3.1, 0)) == [(0, 1)]


def test_without_scores_it_ends_at_the_last_score():
    machine = EventMachine(rules(merge_gap_s=2), HIGH, LOW)
    machine.push_all([0, 1], [3, 3])
    assert machine.tick(4) == [] and machine.is_open
    assert spans(machine.tick(4.1)) == [(0, 1)]
    assert spans(run([3, 3, NAN, 3], merge_gap_s=0)) == [(0, 2), (3, 3)], "a frame without a score"


def test_cool_down_delays_the_next_event():
    assert spans(run([3, 0, 3, 3, 0, 0, 0, 3, 3, 3, 0], cool_down_s=8)) == [(0, 1), (9, 10)]


def test_an_event_that_lasts_too_long_continues_as_a_new_one():
    occurrences = run([3] * 10 + [0], max_duration_s=4)
    assert spans(occurrences) == [(0, 4), (4, 8), (8, 10)]
    assert [event.continues_s for event in occurrences if event.is_over] == [None, 0, 4]


def test_peak_and_scores_belong_to_the_event():
    (event,) = (event for event in run([0, 3, 5, 5, 2.5, 0, 0]) if event.is_over)
    assert (event.peak, event.peak_s) == (5, 2)
    assert event.scores == ((0, 3), (1, 5), (2, 5), (3, 2.5))


def test_memory_stays_bounded_and_no_peak_is_lost():
    scores = np.full(20_000, 3.0)
    scores[12_345] = 9.0
    (event,) = (event for event in run(scores, step_s=0.2, max_duration_s=1e9) if event.is_over)
    assert len(event.scores) <= 512 and max(value for _, value in event.scores) == 9.0
    assert event.scores[0][0] == 0 and event.scores[-1][0] > 3900


@pytest.mark.parametrize(("time_s", "value"), [(1.0, 0.0), (0.5, 0.0), (NAN, 0.0), (2.0, math.inf)])
def test_falling_times_and_infinite_scores_are_refused(time_s, value):
    machine = EventMachine(rules(), HIGH)
    machine.push(1.0, 0.0)
    with pytest.raises(DataError, match="expected finite scores and times"):
        machine.push(time_s, value)


def test_invalid_thresholds_and_rules_are_refused():
    with pytest.raises(ConfigError, match="the second no higher"):
        EventMachine(rules(), 1.0, 2.0)
    with pytest.raises(ConfigError, match="hysteresis 1"):
        low_threshold(3, 1, 1.0)
    assert low_threshold(3, 5, 0.5) == 3, "hysteresis needs a threshold above the normal scores"


def test_an_ended_event_continues_only_above_the_opening_threshold():
    assert spans(run([3, 0, 1.5, 0, 0, 0], merge_gap_s=2)) == [(0, 1)]
    assert spans(run([3, 0, 2.5, 0, 0, 0], merge_gap_s=2)) == [(0, 3)]


def test_scores_exactly_max_gap_apart_are_one_run():
    assert spans(run([3, 3, 0], step_s=3, merge_gap_s=0)) == [(0, 6)]
    assert spans(run([3, 3, 0], step_s=3.5, merge_gap_s=0)) == [(0, 0), (3.5, 3.5)]


def test_a_state_whose_times_are_rounded_is_restored():
    """2.8 + 8 - 8 is above 2.8."""
    rules = EventRules(min_duration_s=0, merge_gap_s=0, cool_down_s=8, max_duration_s=1.5, max_gap_s=3)
    machine = EventMachine(rules, 1.0)
    machine.push_all([0.2, 0.4, 0.6, 1.1, 2.1, 2.3, 2.8], [0, 0, 0, 2.5, 1.5, 1.5, 1.5])
    restarted = EventMachine(rules, 1.0)
    restarted.restore(machine.state())
    assert restarted.state() == machine.state() and restarted.is_open
