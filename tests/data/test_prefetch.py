import subprocess
import sys
import threading
import time

import pytest

from offnormal.data.prefetch import Prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "counting"]


def counting(made, limit=1000, ended=None):
    def count():
        try:
            for i in range(limit):
                made.append(threading.current_thread().name)
                yield i
        finally:
            if ended is not None:
                ended.append(threading.current_thread().name)

    return count


def settled(made):
    while True:
        before = len(made)
        time.sleep(0.05)
        if len(made) == before:
            return before


@pytest.mark.parametrize("capacity", [1, 3, 100])
def test_items_come_in_order_and_all_of_them(capacity):
    made = []
    assert list(Prefetch(counting(made, 50), capacity=capacity, name="counting")) == list(range(50))
    assert set(made) == {"counting"}
    assert not threads()


def test_no_more_items_than_there_is_room_for_are_made_ahead():
    made = []
    ahead = Prefetch(counting(made), capacity=3, name="counting")
    assert settled(made) == 4
    taken = iter(ahead)
    assert [next(taken), next(taken)] == [0, 1]
    assert settled(made) == 6
    ahead.close()


def test_closing_ends_the_thread_and_cleans_up_in_it():
    made, ended = [], []
    ahead = Prefetch(counting(made, ended=ended), capacity=2, name="counting")
    next(iter(ahead))
    ahead.close()
    assert not threads()
    assert ended == ["counting"]
    assert len(made) <= 5
    ahead.close()


def test_an_error_is_raised_after_the_items_before_it():
    def failing():
        yield 1
        yield 2
        raise ValueError("third")

    taken = iter(Prefetch(failing, capacity=5, name="counting"))
    assert [next(taken), next(taken)] == [1, 2]
    with pytest.raises(ValueError, match="third"):
        next(taken)
    assert not threads()


def test_an_error_at_the_very_beginning_is_raised():
    def failing():
        raise OSError("no such thing")

    with pytest.raises(OSError, match="no such thing"):
        list(Prefetch(failing, capacity=5, name="counting"))


def test_a_program_ends_though_nobody_closed_it():
    program = (
        "import itertools\nfrom offnormal.data.prefetch import Prefetch\n"
        "taken = iter(Prefetch(lambda: (i for i in itertools.count()), capacity=2, name='x'))\nprint(next(taken))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=30, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
