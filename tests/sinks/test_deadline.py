import threading

import pytest

from offnormal.sinks.deadline import TimedCalls


def test_a_call_is_abandoned_at_the_deadline_and_blocks_the_next_one_until_it_ends():
    call, release = TimedCalls(), threading.Event()
    with pytest.raises(TimeoutError, match=r"no complete answer within 0\.05 s"):
        call(release.wait, limit_s=0.05)
    with pytest.raises(TimeoutError, match="the last attempt is still running"):
        call(lambda: None, limit_s=5)
    release.set()
    call._thread.join(10)
    call(lambda: None, limit_s=5)


def test_errors_are_passed_on():
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        TimedCalls()(fail, limit_s=5)
