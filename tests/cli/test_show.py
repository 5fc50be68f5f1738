"""Progress for logs: rare lines, with an estimate of the time that is left."""

from __future__ import annotations

from offnormal.cli.show import ProgressLines


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
