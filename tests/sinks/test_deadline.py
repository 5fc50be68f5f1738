import threading

import pytest

from offnormal.sinks.deadline import TimedCalls


def test_a_call_is_abandoned_at_the_deadline_and_blocks_the_next_one_until_it_ends():
    call, release = TimedCalls(), threading.Event()
    with pytest.raises(TimeoutError, match=r"no complete answer within 0\.05 s"):
        call(release.wait, limit_s=0.05)
    with pytest.raises(TimeoutError, match="the last attempt still hangs"):
        call(lambda: None, limit_s=5)
    release.set()
    call._thread.join(10)
    call(lambda: None, limit_s=5)


def test_errors_are_passed_on():
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        TimedCalls()(fail, limit_s=5)


def test_a_late_call_is_not_started_again_and_its_result_counts():
    call, release, starts = TimedCalls(), threading.Event(), []

    def send():
        starts.append(1)
        release.wait(10)
        if len(starts) == 2:
            raise ValueError("refused")

    for _ in range(3):
        with pytest.raises(TimeoutError, match="no complete answer"):
            call(send, limit_s=0.01, key="a")
    release.set()
    call(send, limit_s=5, key="a")
    assert len(starts) == 1
    release.clear()
    with pytest.raises(TimeoutError):
        call(send, limit_s=0.01, key="b")
    release.set()
    with pytest.raises(ValueError, match="refused"):
        call(send, limit_s=5, key="b")
    call(send, limit_s=5, key="b")
    assert len(starts) == 3
