"""A worker beside a training: it tries again, says so once, and ends in time."""

from __future__ import annotations

import threading
import time

import pytest

from offnormal.training import worker
from offnormal.training.worker import Worker


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(worker, "_FIRST_S", 0.001)
    monkeypatch.setattr(worker, "_LONGEST_S", 0.004)


class Turns:
    """Fails so many times; an event when it has been done so often."""

    def __init__(self, fail=0, want=1):
        self.fail, self.want, self.done, self.enough = fail, want, 0, threading.Event()

    def __call__(self):
        self.done += 1
        if self.done >= self.want:
            self.enough.set()
        if self.done <= self.fail:
            raise ConnectionError(f"away {self.done} of https://me:secret@host")


def test_a_last_turn_follows_the_close():
    turns = Turns()
    made = Worker(turns, what="x", every_s=1e6)
    assert turns.enough.wait(10)
    assert made.close(patience_s=5, stall_s=5) is None
    assert turns.done == 2


def test_failures_are_tried_again_and_told_once_without_secrets(caplog):
    turns = Turns(fail=6, want=8)
    made = Worker(turns, what="the upload", every_s=0.001)
    assert turns.enough.wait(10)
    assert made.close(patience_s=5, stall_s=5) is None
    (told,) = caplog.messages
    assert "the upload fails (ConnectionError: away 2 of https://***@host): the fit goes on" in told


def test_one_failure_alone_is_not_told(caplog):
    turns = Turns(fail=1, want=3)
    made = Worker(turns, what="x", every_s=0.001)
    assert turns.enough.wait(10)
    made.close(patience_s=5, stall_s=5)
    assert caplog.messages == []


def test_the_wait_between_tries_doubles_up_to_a_cap(monkeypatch):
    waits, enough, sleep = [], threading.Event(), time.sleep

    def slept(seconds):
        waits.append(seconds)
        if len(waits) == 5:
            enough.set()
        sleep(seconds)

    monkeypatch.setattr(worker.time, "sleep", slept)
    made = Worker(Turns(fail=10**9), what="x", every_s=1)
    made.close(patience_s=1, stall_s=5)
    assert enough.is_set()
    assert waits[:5] == [0.001, 0.002, 0.004, 0.004, 0.004]


def test_what_never_works_ends_with_its_error_when_patience_does():
    assert "ConnectionError: away" in Worker(Turns(fail=10**9), what="x", every_s=1).close(patience_s=0.05, stall_s=5)


def test_what_never_answers_is_left_behind():
    until = threading.Event()
    assert Worker(until.wait, what="x", every_s=1).close(patience_s=0, stall_s=0.05) == "no answer for 0.05 s"
    until.set()


def test_what_moves_on_is_waited_for():
    def slow():
        for _ in range(20):
            time.sleep(0.01)
            made.moved()

    made = Worker(slow, what="x", every_s=1)
    assert made.close(patience_s=0, stall_s=0.1) is None
