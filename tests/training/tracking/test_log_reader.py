"""Log lines as trackers receive them."""

from __future__ import annotations

import json

import pytest

from offnormal.run import Run
from offnormal.training.tracking import log_reader
from offnormal.training.tracking.log_reader import Point, Rewind, Summary, last_step, read_events, read_lines


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path)
    run.log("start", verb="fit", images=3)
    for step in (1, 2):
        run.log(
            "step",
            step=step,
            epoch=1,
            losses={"g": {"loss": 1.5 * step, "x": float("nan")}},
            lr={"g": 0.1},
            gradient={"g": 2.0},
            seconds=0.25,
        )
    run.log("validation", step=2, epoch=1, losses={"loss": 3.0}, best=True, seconds=1)
    run.log("epoch", epoch=1, steps=2, seconds=0.5, waiting_share=0.1, collapsed=1, odd="text")
    run.log("resumed", step=1)
    run.log("trained", steps=2, stopped="done", best_loss=None)
    run.log("evaluated", data="parts", image_AUROC=0.5)
    return run


def test_numbers_of_a_training_are_points_and_ends_are_summaries(run):
    lines, _ = read_lines(run.path / "log.jsonl", 0)
    first, second, validation, epoch, rewind, trained, evaluated = read_events(lines, 0)
    assert first.values == {"train/g/loss": 1.5, "lr/g": 0.1, "gradient/g": 2.0, "epoch": 1.0, "time/step_s": 0.25}
    assert (first.step, second.step) == (1, 2)
    assert (validation.step, validation.values) == (2, {"validation/loss": 3.0})
    assert (epoch.step, epoch.values["epochs/waiting_share"], epoch.values["epochs/collapsed"]) == (2, 0.1, 1.0)
    assert "epochs/odd" not in epoch.values
    assert rewind == Rewind(1)
    assert trained == Summary({"training/steps": 2, "training/stopped": "done"})
    assert evaluated == Summary({"evaluation/data": "parts", "evaluation/image_AUROC": 0.5})
    assert last_step(lines, 0) == 1
    assert isinstance(first, Point)


def test_times_come_from_the_log(run):
    lines, _ = read_lines(run.path / "log.jsonl", 0)
    assert abs(next(read_events(lines, 0)).time_s - (run.path / "log.jsonl").stat().st_mtime) < 10


@pytest.mark.parametrize("chunk", [1, 50, 1 << 20])
def test_reading_in_chunks_yields_every_line_once(run, monkeypatch, chunk):
    monkeypatch.setattr(log_reader, "_CHUNK", chunk)
    log = run.path / "log.jsonl"
    all_lines, at = [], 0
    while True:
        lines, end = read_lines(log, at)
        if end == at:
            break
        all_lines, at = all_lines + lines, end
    assert all_lines == [json.loads(line) for line in log.read_text().splitlines()]
    assert at == log.stat().st_size


def test_an_unfinished_line_waits_and_a_damaged_line_is_skipped(run):
    log = run.path / "log.jsonl"
    whole = log.stat().st_size
    with log.open("a") as file:
        file.write('{"event": "st')
    lines, end = read_lines(log, 0)
    assert (len(lines), end) == (8, whole)
    with log.open("a") as file:
        file.write("\n")
    run.log("done")
    assert [line["event"] for line in read_lines(log, end)[0]] == ["done"]
