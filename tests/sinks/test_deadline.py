import threading

import pytest

from offnormal.sinks.deadline import TimedCalls


def test_a_call_is_abandoned_at_the_deadline_and_blocks_the_next_one_until_it_ends():
    call, release = TimedCalls(), threading.Event()
    with pytest.raises(TimeoutError, match=r"no complete answer within 0\.05 s"):
        call("a", release.wait, limit_s=0.05)
    with pytest.raises(TimeoutError, match="the last attempt still hangs"):
        call("b", lambda: None, limit_s=5)
    release.set()
    call._thread.join(10)
    call("b", lambda: None, limit_s=5)


def test_a_late_call_is_not_started_again_and_its_result_counts():
    call, release, started = TimedCalls(), threading.Event(), []

    def send():
        started.append(1)
        release.wait()
        if len(started) == 1:
            raise ValueError("refused late")

    with pytest.raises(TimeoutError, match="no complete answer"):
        call("a", send, limit_s=0.05)
    with pytest.raises(TimeoutError, match="still hangs"):
        call("a", send, limit_s=0.05)
    release.set()
    call._thread.join(10)
    with pytest.raises(ValueError, match="refused late"):
        call("a", send, limit_s=5)
    assert len(started) == 1
    call("a", send, limit_s=5)  # after a late error, it is sent again
    release.clear()
    with pytest.raises(TimeoutError):
        call("a", send, limit_s=0.05)
    release.set()
    call._thread.join(10)
    call("a", send, limit_s=5)
    assert len(started) == 3, "after a late success, it is not"


def test_errors_are_passed_on():
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        TimedCalls()("a", fail, limit_s=5)
