"""A fit that is really killed and resumed."""

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


def kill_fit(step, out, *arguments):
    """Start a fit and kill it once its last checkpoint is at this step or later; return the only run in `out`."""
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
def test_a_killed_fit_is_resumed_with_the_same_result(plugged, pictures, tmp_path, schedule):
    arguments = ["pair", "--normal", pictures, "--device", "cpu", "--epochs", 120, "--batch-size", 6, "--size", 16]
    arguments += ["--schedule", schedule, "--threads", 1, "--slow-s", 0.01]
    whole = fit(*arguments, "--out", tmp_path / "whole")
    interrupted = kill_fit(40, tmp_path / "interrupted", *arguments, "--out", tmp_path / "interrupted")
    further = checkpoint.last_step(interrupted) + 20  # a checkpoint that only a resumed fit can have written
    assert kill_fit(further, tmp_path / "interrupted", "pair", "--resume", interrupted) == interrupted
    assert fit("pair", "--resume", interrupted) == interrupted
    assert load(interrupted).hash == load(whole).hash
    assert load(interrupted).calibration.scores == load(whole).calibration.scores
    assert losses(interrupted) == losses(whole)
    assert len(read_history(interrupted / "log.jsonl").resumed) == 2
    assert not (interrupted / "checkpoints").exists()


@pytest.fixture
def stopped(plugged, pictures, tmp_path):
    """A run that --max-time stopped after one step."""
    options = {"normal": pictures, "out": tmp_path / "runs", "size": 16, "max_time": "1ms", "batch_size": 6}
    return fit_run("plain", build(fit_config("plain"), options, environment={}))[0]


def resume(run, **options):
    config = build(
        fit_config("plain"),
        {"resume": run.path, **options},
        file=resumed_config(run.path),
        environment={},
        detector="plain",
    )
    return fit_run("plain", config)[0]


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"batch_size": 5}, "training.batch_size: 6 -> 5"),
        ({"epochs": 7}, "training.steps: 20 -> 28"),
        ({"schedule": "cosine"}, "training.schedule: constant -> cosine"),
        ({"detector": {"learning_rate": 0.5}}, "detector.learning_rate: 0.01 -> 0.5"),
        ({"detector": {"seed": 1}}, "detector.seed: 0 -> 1"),
        ({"size": 32}, r"input.size: \[16, 16\] -> \[32, 32\]"),
        ({"hold_out": 0.3}, "hold_out: 0.2 -> 0.3"),
    ],
)
def test_changed_options_are_listed_and_change_nothing(stopped, options, change):
    before = (stopped.path / "config.yaml").read_text()
    with pytest.raises(ConfigError, match=change):
        resume(stopped, **options)
    assert (stopped.path / "config.yaml").read_text() == before


def test_other_data_is_refused(stopped, pictures, tmp_path):
    import shutil

    changed = shutil.copytree(pictures, tmp_path / "other")
    (changed / "000.png").write_bytes((changed / "001.png").read_bytes())
    with pytest.raises(ConfigError, match="data: "):
        resume(stopped, normal=changed)


def test_options_that_do_not_affect_the_result_may_change(stopped):
    assert stopped.bundle.card["training"]["stopped"] == "time"
    with pytest.raises(CalibrationError, match=f"The training is saved: resume with --resume {stopped.path}"):
        resume(stopped, max_time=None, patience=100, workers=1, rate="10%")  # needs 9, but 6 are held out
    step_count = len(read_history(stopped.path / "log.jsonl").steps)
    run = resume(stopped, max_time=None, rate="25%")
    assert run.path == stopped.path
    assert len(read_history(stopped.path / "log.jsonl").steps) == step_count == 20
    assert run.bundle.card["training"]["steps"] == 20
    assert run.bundle.calibration.rate.value == 0.25
    assert not (run.path / "checkpoints").exists()
    with pytest.raises(ConfigError, match="no checkpoint"):
        resume(run)


def test_a_missing_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        build(fit_config("padim"), {}, file=resumed_config(tmp_path / "no"), environment={})
