import subprocess
import sys
import threading
import time

import pytest

from offnormal.data.prefetch import Prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "counting"]


def counting(produced, limit=1000, ended=None):
    def count():
        try:
            for i in range(limit):
                produced.append(threading.current_thread().name)
                yield i
        finally:
            if ended is not None:
                ended.append(threading.current_thread().name)

    return count


def settled(produced):
    while True:
        before = len(produced)
        time.sleep(0.05)
        if len(produced) == before:
            return before


@pytest.mark.parametrize("capacity", [1, 3, 100])
def test_all_items_are_yielded_in_order(capacity):
    produced = []
    assert list(Prefetch(counting(produced, 50), capacity=capacity, name="counting")) == list(range(50))
    assert set(produced) == {"counting"}
    assert not threads()


def test_at_most_capacity_items_are_prefetched():
    produced = []
    prefetch = Prefetch(counting(produced), capacity=3, name="counting")
    assert settled(produced) == 4
    items = iter(prefetch)
    assert [next(items), next(items)] == [0, 1]
    assert settled(produced) == 6
    prefetch.close()


def test_closing_ends_the_thread_and_cleans_up_in_it():
    produced, ended = [], []
    prefetch = Prefetch(counting(produced, ended=ended), capacity=2, name="counting")
    next(iter(prefetch))
    prefetch.close()
    assert not threads()
    assert ended == ["counting"]
    assert len(produced) <= 5
    prefetch.close()


def test_an_error_is_raised_after_the_items_before_it():
    def failing():
        yield 1
        yield 2
        raise ValueError("third")

    items = iter(Prefetch(failing, capacity=5, name="counting"))
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="third"):
        next(items)
    assert not threads()


def test_an_error_at_the_start_is_raised():
    def failing():
        raise OSError("no such thing")

    with pytest.raises(OSError, match="no such thing"):
        list(Prefetch(failing, capacity=5, name="counting"))


def test_a_program_ends_without_close():
    program = (
        "import itertools\nfrom offnormal.data.prefetch import Prefetch\n"
        "items = iter(Prefetch(lambda: (i for i in itertools.count()), capacity=2, name='x'))\nprint(next(items))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], timeout=30, capture_output=True, text=True, check=True)
    assert result.stdout == "0\n"
