import threading
import time

import pytest

from offnormal.errors import OffnormalError
from offnormal.watching.time_slices import ComputeThread, TimeSlices


def test_a_bundle_alone_has_all_the_time():
    slices = TimeSlices(bundles=1)
    slices.took("alone", 1, 9.0)
    assert slices.clips("alone") is None


def test_a_slice_holds_as_many_clips_as_a_quarter_of_a_second_does():
    slices = TimeSlices(bundles=2)
    assert slices.clips("new") == 1
    slices.took("quick", 1, 0.05)
    assert slices.clips("quick") == 5
    slices.took("quick", 5, 0.5)  # 0.1 s each: a fifth of the way from 0.05 s is 0.06 s
    assert slices.clips("quick") == 4


def test_a_slow_bundle_has_one_clip_and_one_more_after_a_slice_that_was_short_enough():
    slices = TimeSlices(bundles=2)
    slices.took("slow", 1, 2.0)
    assert slices.clips("slow") == 1
    slices.took("dear at first", 1, 0.2)  # much of which may not be the clip's
    assert slices.clips("dear at first") == 2
    slices.took("dear at first", 0, 5.0)  # no clip: nothing is learned
    assert slices.clips("dear at first") == 2


def test_everything_is_computed_in_one_thread_and_errors_come_back():
    compute = ComputeThread()
    first, second = (compute.run(threading.current_thread) for _ in range(2))
    assert first is second is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        compute.run(lambda: 1 / 0)
    compute.check()


def test_what_still_runs_when_the_user_interrupts_is_ended(monkeypatch):
    compute, ended = ComputeThread(), threading.Event()

    class Interrupted:
        def result(self):
            raise KeyboardInterrupt

    def work():
        end_s = time.monotonic() + 5
        try:
            while time.monotonic() < end_s:
                compute.check()
        except OffnormalError:
            ended.set()

    submit = compute.submit
    monkeypatch.setattr(compute, "submit", lambda *given: (submit(*given), Interrupted())[1])
    with pytest.raises(KeyboardInterrupt):
        compute.run(work)
    compute.shutdown()
    assert ended.is_set()
