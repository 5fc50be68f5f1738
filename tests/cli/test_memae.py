"""MemAE as a new user tries it: on footage, on pictures, on digits, and with published weights."""

import json
import re
from pathlib import Path

import pytest
import torch

from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.detectors.memae import MemAE
from offnormal.testing.scenes import write_scenes
from offnormal.types import InputSpec
from tests.data.idx_files import write_digits

QUICK = ["--steps", "12", "--batch-size", "4", "--memory-size", "6"]


def fitted(capsys, tmp_path, *arguments):
    assert run(["fit", "memae", *map(str, arguments), *QUICK, "--out", str(tmp_path / "runs"), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def evaluated(capsys, fit, *arguments):
    assert run(["evaluate", fit["bundle"], *map(str, arguments), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    return output["metrics"], (Path(output["run"]) / "report.html").read_text(encoding="utf-8")


def test_footage_gives_every_frame_a_score(tmp_path, capsys):
    data = write_scenes(tmp_path / "yard", frames=20)
    fit = fitted(capsys, tmp_path, "--data", data, "--size", 16, "--width", 4, "--frames", 6, "--hop", 4)
    detector = load(fit["bundle"]).detector
    assert detector.options.form == "video"
    assert (detector.input.channels, detector.input.frames, detector.input.hop) == (1, 6, 4)
    metrics, report = evaluated(capsys, fit, "--data", data)
    assert "frame_AUC_micro" in metrics
    assert re.search(r"Normal samples use \d of 6 memory items", report)
    assert run(["predict", fit["bundle"], str(data / "test" / "odd.mp4"), "--csv", str(tmp_path / "odd.csv")]) == 0
    rows = (tmp_path / "odd.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 21
    lines = [json.loads(line) for line in (Path(fit["run"]) / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    epochs = [line for line in lines if line["event"] == "epoch"]
    assert all({"dead_positions", "unused_items"} <= line.keys() for line in epochs)


def test_pictures_take_the_form_that_suits_them(parts, tmp_path, capsys):
    fit = fitted(capsys, tmp_path, "--data", parts, "--size", 40, "--width", 4)
    assert load(fit["bundle"]).detector.options.form == "image"
    metrics, report = evaluated(capsys, fit, "--data", parts)
    assert "pixel_AUROC" in metrics
    assert "reconstruction" in report


def test_digits_at_their_own_size(tmp_path, capsys):
    data = write_digits(tmp_path / "digits", subsets=("train", "t10k"), per_class=10)
    more = ["--normal-class", "3"]
    fit = fitted(capsys, tmp_path, "--data", data, *more, "--form", "mnist")
    detector = load(fit["bundle"]).detector
    assert (detector.input.size, detector.input.channels) == ((28, 28), 1)
    assert detector.net.memory.shape == (6, 64 * 4 * 4)
    assert "image_AUROC" in evaluated(capsys, fit, "--data", data, *more)[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--form", "video"], "needs clips of 16 frames"),
        (["--form", "image", "--hop", "2"], "only form=video takes clips"),
        (["--sparsity", "-1"], "sparsity"),
    ],
)
def test_what_cannot_be_is_refused(parts, tmp_path, capsys, more, message):
    assert run(["fit", "memae", "--data", str(parts), *more, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_published_weights_become_a_bundle(tmp_path, capsys):
    spec = InputSpec(size=(16, 16), channels=1, frames=16)
    theirs = MemAE.create(width=3, memory_size=5, spec=spec, seed=4).net.state_dict()
    names = {"memory": "mem_rep.memory.weight"}
    torch.save({names.get(name, name): value for name, value in theirs.items()}, tmp_path / "ped2.pt")
    arguments = ["--weights", str(tmp_path / "ped2.pt"), "--out", str(tmp_path / "runs"), "--compat", "code"]
    assert run(["import", "memae", *arguments, "--json"]) == 0
    detector = load(json.loads(capsys.readouterr().out)["bundle"]).detector
    assert (detector.options.width, detector.options.shrink, detector.input.targets) == (3, 0.0025, (8,))
    assert detector.input.size == (256, 256)
    assert all(torch.equal(value, theirs[name]) for name, value in detector.net.state_dict().items())
