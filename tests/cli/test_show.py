"""Progress for logs: rare lines, with an estimate of the time that is left."""

from __future__ import annotations

import errno
import io
import os
import time

import pytest

from offnormal.cli.show import ProgressLines, flush_briefly, say
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


def test_stdout_recovers_from_a_full_disk(monkeypatch):
    class Disk(io.RawIOBase):
        is_full, content = False, b""

        def writable(self):
            return True

        def write(self, data):
            if self.is_full:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.content += bytes(data)
            return len(data)

    disk = Disk()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BufferedWriter(disk)))
    say("first")
    disk.is_full = True
    for _ in range(3):
        with pytest.raises(OffnormalError, match="No space left"):
            say("second")
    disk.is_full = False
    say("third")
    assert disk.content.splitlines() == [b"first", b"second", b"third"]


def test_the_last_flush_does_not_wait_for_a_reader(monkeypatch, capsys):
    assert flush_briefly("last\n") and capsys.readouterr().err == "last\n"
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, bytes(1024))
    os.set_blocking(writer, True)
    stuck = os.fdopen(writer, "w")
    monkeypatch.setattr("sys.stderr", stuck)
    assert not flush_briefly("last\n")
    content = b""
    while not content.endswith(b"last\n"):
        content += os.read(reader, 1 << 16)
    while not flush_briefly():
        time.sleep(0.01)
    stuck.close()
    os.close(reader)
