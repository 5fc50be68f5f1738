"""A fit that is killed for real goes on as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from offnormal.bundle import load
from offnormal.config.layers import build
from offnormal.errors import CalibrationError, ConfigError
from offnormal.training import checkpoint
from offnormal.training.history import read_history
from offnormal.verbs.fit import fit_config, fit_run, resumed_config


def command(*arguments):
    return [sys.executable, "-c", "from offnormal.cli.main import main; main()", "fit", *map(str, arguments)]


def fit(*arguments):
    done = subprocess.run(command(*arguments, "--json"), capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["run"])


def killed(step, out, *arguments):
    """Start a fit and kill it when its last checkpoint is of this step or a later one; the only run in `out`."""
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        runs = list(out.glob("*")) if out.is_dir() else []
        if runs and (checkpoint.last_step(runs[0]) or 0) >= step:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return runs[0]
        time.sleep(0.005)
    raise AssertionError(f"ended by itself: {process.communicate()[1].decode()}")


def losses(run):
    history = read_history(run / "log.jsonl")
    return history.steps, history.validations, history.rates, history.epochs


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
@pytest.mark.slow
def test_a_killed_fit_is_gone_on_with_and_gives_the_same(plugged, pictures, tmp_path, schedule):
    arguments = ["pair", "--normal", pictures, "--device", "cpu", "--epochs", 120, "--batch-size", 6, "--size", 16]
    arguments += ["--schedule", schedule, "--threads", 1, "--slow-s", 0.01]
    whole = fit(*arguments, "--out", tmp_path / "whole")
    broken = killed(40, tmp_path / "broken", *arguments, "--out", tmp_path / "broken")
    further = checkpoint.last_step(broken) + 20  # a checkpoint that only a resumed fit can have written
    assert killed(further, tmp_path / "broken", "pair", "--resume", broken) == broken
    assert fit("pair", "--resume", broken) == broken
    assert load(broken).hash == load(whole).hash
    assert load(broken).calibration.scores == load(whole).calibration.scores
    assert losses(broken) == losses(whole)
    assert len(read_history(broken / "log.jsonl").resumed) == 2
    assert not (broken / "checkpoints").exists()


@pytest.fixture
def stopped(plugged, pictures, tmp_path):
    """A run that the limit of time has stopped after a step."""
    given = {"normal": pictures, "out": tmp_path / "runs", "size": 16, "max_time": "1ms", "batch_size": 6}
    return fit_run("plain", build(fit_config("plain"), given, environment={}))[0]


def resume(run, **given):
    config = build(
        fit_config("plain"),
        {"resume": run.path, **given},
        file=resumed_config(run.path),
        environment={},
        detector="plain",
    )
    return fit_run("plain", config)[0]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"batch_size": 5}, "training.batch_size: 6 then, 5 now"),
        ({"epochs": 7}, "training.steps: 20 then, 28 now"),
        ({"schedule": "cosine"}, "training.schedule: constant then, cosine now"),
        ({"detector": {"learning_rate": 0.5}}, "detector.learning_rate: 0.01 then, 0.5 now"),
        ({"detector": {"seed": 1}}, "detector.seed: 0 then, 1 now"),
        ({"size": 32}, r"input.size: \[16, 16\] then, \[32, 32\] now"),
        ({"hold_out": 0.3}, "hold_out: 0.2 then, 0.3 now"),
    ],
)
def test_other_options_are_refused_by_name_and_change_nothing(stopped, given, named):
    before = (stopped.path / "config.yaml").read_text()
    with pytest.raises(ConfigError, match=named):
        resume(stopped, **given)
    assert (stopped.path / "config.yaml").read_text() == before


def test_other_data_are_refused(stopped, pictures, tmp_path):
    import shutil

    other = shutil.copytree(pictures, tmp_path / "other")
    (other / "000.png").write_bytes((other / "001.png").read_bytes())
    with pytest.raises(ConfigError, match="data: "):
        resume(stopped, normal=other)


def test_what_does_not_matter_may_change(stopped):
    assert stopped.bundle.card["training"]["stopped"] == "time"
    with pytest.raises(CalibrationError, match=f"What was learned is kept: add --resume {stopped.path}"):
        resume(stopped, max_time=None, patience=100, workers=1, rate="10%")  # needs 9, and 6 were kept back
    learned = len(read_history(stopped.path / "log.jsonl").steps)
    run = resume(stopped, max_time=None, rate="25%")
    assert run.path == stopped.path
    assert len(read_history(stopped.path / "log.jsonl").steps) == learned == 20
    assert run.bundle.card["training"]["steps"] == 20
    assert run.bundle.calibration.rate.value == 0.25
    assert not (run.path / "checkpoints").exists()
    with pytest.raises(ConfigError, match="no checkpoint"):
        resume(run)


def test_a_run_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        build(fit_config("padim"), {}, file=resumed_config(tmp_path / "no"), environment={})
