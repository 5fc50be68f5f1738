import gc
import threading
import time

import pytest

from offnormal.watching.compute import ComputeThread


def here():
    return threading.current_thread()


def test_everything_runs_in_one_thread_whoever_asks():
    compute = ComputeThread()
    found = [compute.call(here)]
    askers = [threading.Thread(target=lambda: found.append(compute.call(here))) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(found) == 5
    assert set(found) == {found[0]} != {here()}


def test_an_error_reaches_who_asked_and_the_thread_goes_on():
    compute = ComputeThread()
    with pytest.raises(ZeroDivisionError):
        compute.call(lambda: 1 / 0)
    assert compute.call(lambda: 3) == 3


def test_the_thread_ends_with_its_object():
    compute = ComputeThread()
    thread = compute.call(here)
    del compute
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_what_was_given_is_let_go_while_the_thread_waits():
    compute, gone = ComputeThread(), threading.Event()

    class Large:
        def __del__(self):
            gone.set()

        def use(self):
            return 1

    assert compute.call(Large().use) == 1
    time.sleep(0)
    assert gone.wait(10)
