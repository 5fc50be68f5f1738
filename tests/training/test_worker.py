"""A worker beside a training: it retries, warns once, and ends in time."""

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


class Task:
    """Fails `fail` times; sets an event after `want` runs."""

    def __init__(self, fail=0, want=1):
        self.fail, self.want, self.done, self.enough = fail, want, 0, threading.Event()

    def __call__(self):
        self.done += 1
        if self.done >= self.want:
            self.enough.set()
        if self.done <= self.fail:
            raise ConnectionError(f"away {self.done} of https://me:secret@host")


def test_the_task_runs_once_more_after_the_close():
    task = Task()
    background = Worker(task, name="x", interval_s=1e6)
    assert task.enough.wait(10)
    assert background.close(patience_s=5, stall_s=5) is None
    assert task.done == 2


def test_failures_are_retried_with_one_warning_without_secrets(caplog):
    task = Task(fail=6, want=8)
    background = Worker(task, name="the upload", interval_s=0.001)
    assert task.enough.wait(10)
    assert background.close(patience_s=5, stall_s=5) is None
    (warning,) = caplog.messages
    assert "the upload failed (ConnectionError: away 2 of https://***@host); the fit continues" in warning


def test_a_single_failure_is_not_logged(caplog):
    task = Task(fail=1, want=3)
    background = Worker(task, name="x", interval_s=0.001)
    assert task.enough.wait(10)
    background.close(patience_s=5, stall_s=5)
    assert caplog.messages == []


def test_the_wait_between_tries_doubles_up_to_a_cap(monkeypatch):
    waits, enough, sleep = [], threading.Event(), time.sleep

    def record_sleep(seconds):
        waits.append(seconds)
        if len(waits) == 5:
            enough.set()
        sleep(seconds)

    monkeypatch.setattr(worker.time, "sleep", record_sleep)
    background = Worker(Task(fail=10**9), name="x", interval_s=1)
    background.close(patience_s=1, stall_s=5)
    assert enough.is_set()
    assert waits[:5] == [0.001, 0.002, 0.004, 0.004, 0.004]


def test_a_task_that_always_fails_ends_with_its_error_after_the_patience():
    assert "ConnectionError: away" in Worker(Task(fail=10**9), name="x", interval_s=1).close(patience_s=0.05, stall_s=5)


def test_a_task_that_hangs_is_abandoned():
    until = threading.Event()
    assert Worker(until.wait, name="x", interval_s=1).close(patience_s=0, stall_s=0.05) == "no answer for 0.05 s"
    until.set()


def test_a_slow_task_that_reports_progress_is_waited_for():
    def slow():
        for _ in range(20):
            time.sleep(0.01)
            background.note_progress()

    background = Worker(slow, name="x", interval_s=1)
    assert background.close(patience_s=0, stall_s=0.1) is None
