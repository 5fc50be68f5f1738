import json

import pytest

from offnormal.training.history import read_history
from offnormal.training.tracking import log_reader


def line(event, step, loss=1.0, **more):
    values = {"time": "2026-11-21T12:00:00+00:00", "event": event, "step": step, **more}
    if event == "step":
        values |= {"losses": {"a": {"loss": loss}}, "lr": {"a": 0.1}}
    if event == "validation":
        values |= {"losses": {"loss": loss}}
    return json.dumps(values)


def write_log(tmp_path, *lines):
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_steps_and_validations_are_in_order_with_the_best(tmp_path):
    log = write_log(
        tmp_path,
        json.dumps({"event": "start"}),
        line("step", 1, 3.0),
        line("validation", 1, 2.0, best=True),
        line("step", 2, 2.5),
        line("validation", 2, 2.2, best=False),
    )
    history = read_history(log)
    assert history.steps == {1: {"a": {"loss": 3.0}}, 2: {"a": {"loss": 2.5}}}
    assert history.validations == {1: {"loss": 2.0}, 2: {"loss": 2.2}}
    assert (history.best, history.resumed) == (1, [])


def test_steps_repeated_after_a_resume_count_once(tmp_path):
    log = write_log(
        tmp_path,
        *(line("step", step, 10.0) for step in (1, 2, 3, 4)),
        line("validation", 2, 5.0, best=True),
        line("validation", 4, 4.0, best=True),
        line("resumed", 2),
        line("step", 3, 7.0),
    )
    history = read_history(log)
    assert {step: losses["a"]["loss"] for step, losses in history.steps.items()} == {1: 10.0, 2: 10.0, 3: 7.0}
    assert history.validations == {2: {"loss": 5.0}}
    assert (history.best, history.resumed) == (2, [2])


@pytest.mark.parametrize(
    "damaged",
    [
        '{"event": "step", "step": 2}', '{"event": "step", "step": 2, "losses": {"a": 5}, "lr": {"a": 0.1}}',
        '{"event": "step", "step": 2, "losses": {"a": {"loss": "1"}}, "lr": {"a": 0.1}}', '{"event": {}}', "[]", "{",
        '{"event": "validation", "step": 2, "losses": {"loss": 1.0}}', '{"event": "epoch", "loss": "1", "seconds": 1}',
    ],
)  # fmt: skip
def test_damaged_lines_are_skipped(tmp_path, damaged):
    lines = [line("step", 1, 3.0), line("validation", 1, 2.0, best=True)]
    expected = read_history(write_log(tmp_path, *lines))
    log = write_log(tmp_path, *lines, damaged)
    assert read_history(log) == expected and len(expected.steps) == len(expected.validations) == 1
    assert [point.step for point in log_reader.read_events(log_reader.read_lines(log, 0)[0], 0)] == [1, 1]


def epoch(number, **more):
    loop = {"steps": 2, "seconds": 0.1, "waiting_share": 0.0, "learning_parameters": 5, "parameters": 9}
    return json.dumps({"event": "epoch", "epoch": number, **loop, **more})


def test_values_of_epochs_are_stored_at_their_last_steps(tmp_path):
    log = write_log(
        tmp_path,
        *(line("step", step) for step in (1, 2)),
        epoch(1),
        *(line("step", step) for step in (3, 4)),
        epoch(2, spread=0.9),
        line("step", 5),
        epoch(3, spread=0.8),
        line("resumed", 4),
        *(line("step", step) for step in (5, 6)),
        epoch(3, spread=0.6),
    )
    assert read_history(log).epochs == {4: {"spread": 0.9}, 6: {"spread": 0.6}}


def test_a_log_that_was_cut_off_and_a_log_without_training(tmp_path):
    log = write_log(tmp_path, line("step", 1), '{"event": "ste')
    assert list(read_history(log).steps) == [1]
    assert read_history(write_log(tmp_path, json.dumps({"event": "start"}))) is None
    assert read_history(tmp_path / "nothing.jsonl") is None
