"""Two processes on the CPU: equal to each other, close to one process, and ending together."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from offnormal.data.layouts.labeled import normal_items
from offnormal.data.loaders import ImageLoader
from offnormal.errors import DataError, FitError
from offnormal.training import ranks
from offnormal.training.gather import Storage, gather
from offnormal.training.loop import Job, _Loop, train
from offnormal.training.settings import TrainSettings
from offnormal.types import InputSpec
from tests.training.tiny import Pair, Plain, TinyOptions

SPEC = InputSpec(size=(16, 16))
CPU = torch.device("cpu")


def gathered(pictures, folder):
    """22 training images and 8 held-out ones, in a file for one training: its processes remove the name."""
    samples = normal_items(pictures)
    room = Storage(cache="ram", folder=folder, shared=True)
    return [gather(ImageLoader(part, SPEC, batch_size=8), room)[0] for part in (samples[:22], samples[22:])]


@pytest.fixture
def sources(pictures, tmp_path):
    return gathered(pictures, tmp_path / "cache")


def make_detector(kind, **options):
    torch.manual_seed(0)
    return kind(TinyOptions(**options), SPEC)


def job(sources, run, detector, devices=2, kind=Job, **more):
    run.mkdir(exist_ok=True)
    chosen = {
        "seed": 0,
        "batch_size": 7,
        "steps": 6,
        "steps_per_epoch": 3,
        "validate_every": 3,
        "validate_on": 99,
        "threads": 1,
    }
    settings = TrainSettings(devices=devices, keep="last", **{**chosen, **more})
    return kind(
        detector=detector,
        training=sources[0],
        held_out=sources[1],
        settings=settings,
        run=run,
        identity={"devices": devices},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingJob(Job):
    """A job that also leaves the state of every rank in a file."""

    def __call__(self, fabric, tell):
        loop = _Loop(self, fabric, tell)
        done = loop.run()
        torch.save(loop.detector.state_dict(), self.run / f"rank {fabric.global_rank}.pt")
        return done


def logged(run, event):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize("kind", [pytest.param(Plain, marks=pytest.mark.slow), Pair])
def test_parameters_and_buffers_are_equal_on_both_ranks(sources, tmp_path, kind):
    detector = make_detector(kind)
    train(job(sources, tmp_path, detector, kind=SavingJob), CPU)
    first, second = (torch.load(tmp_path / f"rank {rank}.pt") for rank in range(2))
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key
        assert torch.equal(value, detector.state_dict()[key]), key
    assert not torch.equal(first["hidden.weight"], make_detector(kind).hidden.weight)


def test_two_processes_give_the_result_of_one(pictures, tmp_path):
    detectors = {1: make_detector(Plain), 2: make_detector(Plain)}
    for devices, detector in detectors.items():
        train(job(gathered(pictures, tmp_path / "cache"), tmp_path / str(devices), detector, devices=devices), CPU)
    one_process, two_processes = (detectors[devices].state_dict() for devices in (1, 2))
    for key, value in one_process.items():
        torch.testing.assert_close(
            value, two_processes[key], rtol=1e-3, atol=2e-3
        )  # the mean runs over halves of 4 and 3
    losses = {
        n: [[line["losses"]["plain"]["loss"]] for line in logged(tmp_path / n, "step")]
        + [[line["losses"]["loss"]] for line in logged(tmp_path / n, "validation")]
        for n in "12"
    }
    torch.testing.assert_close(torch.tensor(losses["1"]), torch.tensor(losses["2"]), rtol=1e-2, atol=1e-4)


def test_only_rank_0_writes_and_reports(sources, tmp_path):
    reports = []
    train(job(sources, tmp_path, make_detector(Pair)), CPU, lambda done, total, _: reports.append((done, total)))
    assert reports == [(step, 6) for step in range(1, 7)]
    assert [line["step"] for line in logged(tmp_path, "step")] == list(range(1, 7))


class BreaksInOneRank(Plain):
    def training_step(self, x):
        if torch.distributed.get_rank() == 1 and int(self.steps) == 2:
            raise DataError("file 17 is broken")
        yield from super().training_step(x)


class DiesInOneRank(Plain):
    def training_step(self, x):
        if torch.distributed.get_rank() == 1 and int(self.steps) == 2:
            import os

            os.kill(os.getpid(), 9)
        yield from super().training_step(x)


@pytest.mark.slow
def test_an_error_in_one_rank_ends_all_with_its_message(sources, tmp_path):
    with pytest.raises(DataError, match="file 17 is broken"):
        train(job(sources, tmp_path, make_detector(BreaksInOneRank)), CPU)


@pytest.mark.slow
def test_a_rank_that_dies_ends_all(sources, tmp_path):
    with pytest.raises(ranks.OffnormalError, match=r"SIGKILL.*lower --batch-size"):
        train(job(sources, tmp_path, make_detector(DiesInOneRank)), CPU)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_reported_by_its_rank(sources, tmp_path):
    with pytest.raises(FitError, match=r"step 4 .*the loss of plain is nan"):
        train(job(sources, tmp_path, make_detector(Plain, nan_at=4)), CPU)


SCRIPT = """
import offnormal as on
    run = on.fit("plain", normal={normal!r}, out={out!r}, size=16, batch_size=6, epochs=2, devices=2, device="cpu")
    print(run.bundle.hash)
"""


@pytest.mark.slow
def test_python_scripts_with_a_guard_can_use_several_devices(plugged, pictures, tmp_path):
    for guard, words in (("if __name__ == '__main__':\n", None), ("if True:\n", "__main__")):
        text = SCRIPT.format(guard="", normal=str(pictures), out=str(tmp_path / "runs"))
        (tmp_path / "script.py").write_text(
            text.replace("import offnormal as on\n", f"import offnormal as on\n{guard}", 1)
        )
        done = subprocess.run(
            [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=False, timeout=600
        )
        if words is None:
            assert done.returncode == 0, done.stderr
            assert len(done.stdout.split()) == 1
        else:
            assert done.returncode != 0
            assert words in done.stderr
            assert "see its output above" in done.stderr


@pytest.mark.slow
def test_the_command_line_can_use_several_devices(plugged, pictures, tmp_path):
    code = "from offnormal.cli.main import main\nif __name__ == '__main__': main()"
    (tmp_path / "program.py").write_text(code)
    arguments = ["fit", "pair", "--normal", pictures, "--out", tmp_path / "runs", "--size", 16, "--epochs", 2]
    arguments += ["--devices", 2, "--device", "cpu", "--batch-size", 6, "--json", "--cache-dir", tmp_path / "cache"]
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    output: dict[str, Any] = json.loads(done.stdout)
    assert output["training"]["steps"] == 8
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert list((tmp_path / "cache").iterdir()) == []
    assert done.stderr == ""
