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


def clocked(found):
    """Times that rise, and scores."""
    return [round(float(t), 3) for t in np.cumsum([gap for gap, _ in found])], [value for _, value in found]


def rules(**given):
    return EventRules(**{"min_duration_s": 0, "merge_gap_s": 0, "max_gap_s": 3, **given})


def spans(told):
    return [(found.start_s, found.end_s) for found in told if found.is_over]


def run(scores, *, step_s=1.0, **given):
    machine = EventMachine(rules(**given), HIGH, LOW)
    told = machine.over(np.arange(len(scores)) * step_s, scores)
    return told + machine.finish()


@settings(max_examples=400, deadline=None)
@given(series, rules_any)
def test_it_says_what_the_definition_says(found, given_rules):
    times, scores = clocked(found)
    machine = EventMachine(given_rules, HIGH, LOW)
    told = machine.over(times, scores) + machine.finish()
    over = [(one.start_s, one.end_s, one.peak) for one in told if one.is_over]
    assert over == naive_events(times, scores, given_rules, HIGH, LOW)
    assert [one.start_s for one in told if not one.is_over] == [start for start, _, _ in over], "each opens once"


@settings(max_examples=300, deadline=None)
@given(series, rules_any)
def test_no_event_is_lost_and_none_overlap(found, given_rules):
    times, scores = clocked(found)
    machine = EventMachine(given_rules, HIGH, LOW)
    events = [one for one in machine.over(times, scores) + machine.finish() if one.is_over]
    for before, after in pairwise(events):
        assert before.start_s <= before.end_s <= after.start_s
        gap = after.start_s - before.end_s
        assert after.continues_s == before.start_s or (gap > given_rules.merge_gap_s or gap == 0)
        assert after.continues_s == before.start_s or after.start_s >= before.end_s + given_rules.cool_down_s
    if given_rules.cool_down_s == 0:  # every run above the threshold that is long enough lies in events, whole
        start = None
        for i, value in enumerate([*scores, NAN]):
            broken = i < len(times) and start is not None and times[i] - times[i - 1] > given_rules.max_gap_s
            if start is not None and (broken or not value > HIGH):
                if times[i - 1] - times[start] >= given_rules.min_duration_s:
                    lain = [one for one in events if one.end_s >= times[start] and one.start_s <= times[i - 1]]
                    assert min(one.start_s for one in lain) <= times[start]
                    assert max(one.end_s for one in lain) >= times[i - 1]
                start = None
            if value > HIGH and start is None:
                start = i
    for one in events:
        assert one.end_s - one.start_s <= given_rules.max_duration_s + given_rules.max_gap_s


@settings(max_examples=300, deadline=None)
@given(series, rules_any, st.data())
@example([(0.2, 3.0)] * 12, EventRules(), None)
def test_portions_ticks_and_restarts_do_not_matter(found, given_rules, data):
    times, scores = clocked(found)
    whole = EventMachine(given_rules, HIGH, LOW)
    expected = whole.over(times, scores)
    machine, told = EventMachine(given_rules, HIGH, LOW), []
    for i, (time_s, value) in enumerate(zip(times, scores, strict=True)):
        told += machine.push(time_s, value)
        what = data.draw(st.sampled_from(["", "", "tick", "restart"])) if data is not None else "restart"
        if what == "tick":
            following = times[i + 1] if i + 1 < len(times) else time_s
            told += machine.tick(time_s + data.draw(st.floats(0, 1)) * (following - time_s))
        if what == "restart":
            saved = json.loads(json.dumps(machine.state(), allow_nan=False))
            machine = EventMachine(given_rules, HIGH, LOW)
            machine.restore(saved)
    assert told == expected
    assert machine.state() == whole.state() and machine.finish() == whole.finish()


def test_it_opens_only_after_the_least_duration_and_begins_where_the_run_began():
    assert spans(run([0, 3, 3, 0, 0, 3, 3, 3, 3, 0], min_duration_s=3)) == [(5, 9)]
    opened = run([0, 3, 3, 3, 3, 0], min_duration_s=3)[0]
    assert not opened.is_over and (opened.start_s, opened.end_s) == (1, 4)


def test_it_closes_at_the_low_threshold_and_not_before():
    assert spans(run([3, 1.5, 1.2, 3, 1.0, 1.5])) == [(0, 4)]


def test_it_goes_on_within_the_merge_gap():
    assert spans(run([3, 0, 0, 3, 0, 0, 0, 3, 0], merge_gap_s=2)) == [(0, 4), (7, 8)]


def test_it_is_told_as_closed_when_it_can_go_on_no_more():
    machine = EventMachine(rules(merge_gap_s=2), HIGH, LOW)
    assert len(machine.push(0, 3)) == 1 and machine.push(1, 0) == [] and machine.push(3, 0) == []
    assert spans(machine.push(3.1, 0)) == [(0, 1)]


def test_without_scores_it_ends_with_the_last_one():
    machine = EventMachine(rules(merge_gap_s=2), HIGH, LOW)
    machine.over([0, 1], [3, 3])
    assert machine.tick(4) == [] and machine.is_open
    assert spans(machine.tick(4.1)) == [(0, 1)]
    assert spans(run([3, 3, NAN, 3], merge_gap_s=0)) == [(0, 2), (3, 3)], "a frame without a score"


def test_cool_down_holds_the_next_one_back():
    assert spans(run([3, 0, 3, 3, 0, 0, 0, 3, 3, 3, 0], cool_down_s=8)) == [(0, 1), (9, 10)]


def test_what_lasts_too_long_goes_on_as_another_event():
    told = run([3] * 10 + [0], max_duration_s=4)
    assert spans(told) == [(0, 4), (4, 8), (8, 10)]
    assert [one.continues_s for one in told if one.is_over] == [None, 0, 4]


def test_peak_and_scores_are_those_of_the_event():
    (event,) = (one for one in run([0, 3, 5, 5, 2.5, 0, 0]) if one.is_over)
    assert (event.peak, event.peak_s) == (5, 2)
    assert event.scores == ((0, 3), (1, 5), (2, 5), (3, 2.5))


def test_memory_stays_bounded_and_no_peak_is_lost():
    scores = np.full(20_000, 3.0)
    scores[12_345] = 9.0
    (event,) = (one for one in run(scores, step_s=0.2, max_duration_s=1e9) if one.is_over)
    assert len(event.scores) <= 512 and max(value for _, value in event.scores) == 9.0
    assert event.scores[0][0] == 0 and event.scores[-1][0] > 3900


@pytest.mark.parametrize(("time_s", "value"), [(1.0, 0.0), (0.5, 0.0), (NAN, 0.0), (2.0, math.inf)])
def test_times_rise_and_scores_are_finite(time_s, value):
    machine = EventMachine(rules(), HIGH)
    machine.push(1.0, 0.0)
    with pytest.raises(DataError, match="expected finite scores and times"):
        machine.push(time_s, value)


def test_wrong_thresholds_and_rules():
    with pytest.raises(ConfigError, match="the second no higher"):
        EventMachine(rules(), 1.0, 2.0)
    with pytest.raises(ConfigError, match="hysteresis 1"):
        low_threshold(3, 1, 1.0)
    assert low_threshold(3, 5, 0.5) == 3, "a threshold below what is usual has nothing to give"


def test_while_it_waits_only_a_score_above_the_opening_threshold_continues_it():
    assert spans(run([3, 0, 1.5, 0, 0, 0], merge_gap_s=2)) == [(0, 1)]
    assert spans(run([3, 0, 2.5, 0, 0, 0], merge_gap_s=2)) == [(0, 3)]


def test_scores_exactly_the_gap_apart_follow_each_other():
    assert spans(run([3, 3, 0], step_s=3, merge_gap_s=0)) == [(0, 6)]
    assert spans(run([3, 3, 0], step_s=3.5, merge_gap_s=0)) == [(0, 0), (3.5, 3.5)]
