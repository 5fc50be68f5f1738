import pytest
from hypothesis import given
from hypothesis import strategies as st

from offnormal.errors import ConfigError
from offnormal.sources.connection import EVER_PATIENT, Connection, Patience

EXACT = Patience(open_s=10, stall_s=5, retry_s=1, cap_s=8, settled_s=20, jitter=0)


def connection(patience=EXACT, start=100.0):
    return Connection(patience, start, lambda: 0.5)


def test_it_connects_at_once_and_is_online_with_the_first_frame():
    it = connection()
    assert (it.state, it.step(100)) == ("connecting", "connect")
    assert (it.step(109), it.wakes_s) == ("wait", 110)
    it.frame(109)
    assert (it.state, it.since_s, it.wakes_s) == ("online", 109, 114)


def test_a_stall_is_noticed_at_its_deadline_and_tried_again():
    it = connection()
    it.step(100)
    for now in (101, 105, 109):
        it.frame(now)
    assert it.step(113.9) == "wait"
    assert (it.step(114), it.state, it.wakes_s) == ("abandon", "stalled", 115)
    assert "no frame for 5 s" in it.reason
    assert it.step(114.9) == "wait"
    assert (it.step(115), it.state, it.attempts) == ("connect", "connecting", 2)


def test_a_source_that_never_gives_a_frame_is_abandoned_too():
    it = connection()
    it.step(100)
    assert it.step(110) == "abandon"
    assert "no frame for 10 s" in it.reason


def test_waits_grow_to_the_cap_and_begin_anew_once_it_was_settled():
    it, now, waits = connection(), 100.0, []
    for _ in range(6):
        assert it.step(now) == "connect"
        it.failed(now, "refused")
        waits.append(it.wakes_s - now)
        now = it.wakes_s
    assert waits == [1, 2, 4, 8, 8, 8]
    it.step(now)
    it.frame(now)
    it.failed(now + 19, "ended")  # online, but not for long
    assert it.wakes_s - (now + 19) == 8
    it.step(now + 27)
    it.frame(now + 27)
    it.failed(now + 47, "ended")
    assert it.wakes_s - (now + 47) == 1


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_a_wait_lies_within_the_cap_and_what_chance_may_take_off(failures, chance, jitter):
    delay = Patience(retry_s=0.5, cap_s=30, jitter=jitter).delay_s(failures, chance)
    grown = min(30, 0.5 * 2 ** min(failures - 1, 64))
    assert grown * (1 - jitter) <= delay <= grown


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from(["frame", "failed", "nothing"])), max_size=60))
def test_it_never_gives_up_and_never_has_two_connections(happenings):
    it, now, connected = connection(), 100.0, False
    for passed, what in happenings:
        now += passed
        step = it.step(now)
        assert not (step == "connect" and connected)
        assert not (step == "abandon" and not connected)
        connected = step == "connect" or (connected and step != "abandon")
        if connected and what == "frame":
            it.frame(now)
            assert it.state == "online"
        elif connected and what == "failed":
            it.failed(now, "broke")
            connected = False
            assert it.state == "offline"
        assert it.wakes_s <= now + 10
    now += 10
    assert it.step(now) != "wait" or it.state == "connecting"


def test_a_patient_one_waits_for_ever():
    it = connection(EVER_PATIENT)
    it.step(100)
    it.frame(101)
    assert it.step(1e9) == "wait"


@pytest.mark.parametrize("wrong", [{"stall_s": 0}, {"cap_s": -1}, {"jitter": 1.5}, {"open_s": float("nan")}])
def test_senseless_times_are_refused(wrong):
    with pytest.raises(ConfigError, match="above 0"):
        Patience(**wrong)
