"""Progress for logs: rare lines, with an estimate of the time that is left."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from offnormal.cli import show
from offnormal.cli.show import ProgressLines, say
from offnormal.errors import OffnormalError


def test_a_long_task_prints_a_line_every_30_seconds(capsys):
    now_s = 0.0
    progress = ProgressLines(clock=lambda: now_s)
    for step in range(121):  # a second each
        now_s = float(step)
        progress("fit", step, 1200, "network 0.5  validation 0.4" if step > 40 else "")
    assert capsys.readouterr().err.splitlines() == [
        "offnormal: fit: 30 of 1,200, about 20 min left",
        "offnormal: fit: 60 of 1,200, about 19 min left, network 0.5 validation 0.4",
        "offnormal: fit: 90 of 1,200, about 18 min left, network 0.5 validation 0.4",
        "offnormal: fit: 120 of 1,200, about 18 min left, network 0.5 validation 0.4",
    ]


def test_a_short_task_prints_nothing(capsys):
    progress = ProgressLines()
    for step in range(100):
        progress("evaluate", step, 100)
    assert not capsys.readouterr().err


def test_a_full_disk_neither_loses_nor_doubles_a_line(capfd, monkeypatch):
    say("first")
    write, is_full = os.write, True

    def take_three_bytes(number, content):
        if is_full and content[:3] != b"sec":
            raise OSError(28, "No space left on device")
        return write(number, content[:3])

    monkeypatch.setattr(show.os, "write", take_three_bytes)
    for _ in range(3):
        with pytest.raises(OffnormalError, match=r"stdout: cannot be written \(No space left on device\)"):
            say("second")
    is_full = False
    say("second")
    say("second")
    assert capfd.readouterr().out == "first\nsecond\nsecond\n"


def test_a_program_leaves_although_nobody_reads_its_output():
    code = "from offnormal.cli.show import leave; leave(7, 'bye')"
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(65536))
    except BlockingIOError:
        os.set_blocking(writing, True)
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=writing, check=False, timeout=60)
    os.close(reading)
    os.close(writing)
    assert done.returncode == 7
