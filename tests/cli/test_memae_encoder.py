"""MemAE with another encoder as a new user tries it: fit, evaluate, predict, go on with a fit, and mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from offnormal.backbones.video.catalogue import build_encoder
from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.detectors.memae import MemAE
from offnormal.scoring import Scorer
from offnormal.testing.scenes import write_scenes
from offnormal.types import InputSpec
from tests.backbones.video.naive import with_statistics

QUICK = ["--size", "32", "--frames", "5", "--hop", "4", "--memory-size", "6"]
QUICK += ["--steps", "2", "--batch-size", "4", "--threads", "1"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "yard", frames=20)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint as mmaction2's and torchvision's are published, non-commercial and not."""
    folder = tmp_path_factory.mktemp("weights")
    for name, head in (("csn_r50", "blocks.5.proj"), ("mc3_18", "fc")):
        trunk = with_statistics(build_encoder(name)).trunk
        torch.save({**trunk.state_dict(), f"{head}.weight": torch.zeros(400, 9)}, folder / f"{name}.pth")
    return folder


def fitted(capsys, out, *arguments):
    assert run(["fit", "memae", *map(str, arguments), "--out", str(out), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "name", ["mc3_18", *(pytest.param(name, marks=pytest.mark.slow) for name in ("slowonly_r18", "csn_r50"))]
)
def test_bundles_score_alike_wherever_they_are_loaded(scenes, weights, tmp_path, capsys, caplog, name):
    file = weights / f"{name}.pth"
    more = ["--weights", file.rename(tmp_path / file.name)] if file.exists() else []
    fit = fitted(capsys, tmp_path / "runs", "--data", scenes, *QUICK, "--encoder", name, *more)
    for path in more[1:]:
        Path(path).unlink()
    caplog.clear()
    bundle = load(fit["bundle"])
    assert ("not for commercial use" in caplog.text) == (name == "csn_r50")
    assert [card["source"] for card in bundle.card["weights"]] == [path.name for path in more[1:]]
    assert run(["evaluate", fit["bundle"], "--data", str(scenes), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert "frame_AUC_micro" in output["metrics"]
    table = tmp_path / "odd.csv"
    assert run(["predict", fit["bundle"], str(scenes / "test" / "odd.mp4"), "--csv", str(table)]) == 0
    assert len(table.read_text(encoding="utf-8").splitlines()) == 21
    saved = bundle.save(tmp_path / "again")
    clip = torch.rand(2, 1, 5, 32, 32)
    first, again = (Scorer(load(path).detector).score(clip).score for path in (fit["bundle"], saved))
    assert np.array_equal(first, again) and first.std() > 0


def test_a_frozen_encoder_is_saved_as_it_came_and_the_log_says_what_learned(scenes, tmp_path, capsys):
    trunk = with_statistics(build_encoder("mc3_18", in_channels=1)).trunk
    torch.save(trunk.state_dict(), tmp_path / "own.pth")
    arguments = ["--encoder", "mc3_18", "--weights", tmp_path / "own.pth", "--freeze-encoder"]
    assert run(["fit", "memae", "--data", str(scenes), *QUICK, *map(str, arguments), "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "weights     mc3_18 from own.pth" in output
    (folder,) = tmp_path.glob("*memae*")
    detector = load(folder).detector
    assert detector.options.freeze_encoder
    saved = detector.net.encoder.backbone.trunk.state_dict()
    assert all(torch.equal(value, saved[key]) for key, value in trunk.state_dict().items())
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    (parameters,) = [line for line in log if line["event"] == "parameters"]
    assert parameters["total"] - parameters["learning"] == sum(p.numel() for p in trunk.parameters())
    assert (
        f"parameters  {parameters['learning'] / 1e6:.2f} of {parameters['total'] / 1e6:.2f} million trained" in output
    )


def test_a_fit_that_is_gone_on_with_ends_as_an_unbroken_one(scenes, tmp_path, capsys):
    flags = ["--data", scenes, *QUICK, "--encoder", "slowonly_r18"]
    whole = fitted(capsys, tmp_path / "a", *flags)
    begun = fitted(capsys, tmp_path / "b", *flags, "--max-time", "1ms")
    assert begun["hash"] != whole["hash"]
    assert run(["fit", "memae", "--resume", begun["run"], "--max-time", "1h", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hash"] == whole["hash"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--encoder", "slowonly_r8"], "did you mean 'slowonly_r18'"),
        (["--encoder", "slowfast_r50"], "outputs of different length"),
        (["--encoder", "csn_r50", "--form", "cifar"], "only form=video takes clips"),
        (["--freeze-encoder"], "with encoder=plain"),
        (["--encoder", "s3d", "--frames", "4"], "do not accept it"),
        (["--encoder", "mc3_18", "--weights", "nowhere.pth"], "nowhere.pth: no such file"),
    ],
)
def test_mistakes_are_answered_before_anything_is_learned(scenes, tmp_path, capsys, more, message):
    assert run(["fit", "memae", "--data", str(scenes), *more, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_pictures_have_no_encoder_of_clips(parts, tmp_path, capsys):
    assert run(["fit", "memae", "--data", str(parts), "--encoder", "csn_r50", "--out", str(tmp_path)]) == 2
    assert "only form=video takes clips" in capsys.readouterr().err


def test_imported_weights_are_those_of_the_plain_encoder(tmp_path, capsys):
    spec = InputSpec(size=(16, 16), channels=1, frames=16)
    torch.save(MemAE.create(width=3, memory_size=0, spec=spec).net.state_dict(), tmp_path / "ped2.pt")
    assert run(["import", "memae", "--weights", str(tmp_path / "ped2.pt"), "--out", str(tmp_path), "--json"]) == 0
    assert load(json.loads(capsys.readouterr().out)["bundle"]).detector.options.encoder == "plain"
    assert run(["import", "memae", "--weights", str(tmp_path / "ped2.pt"), "--encoder", "csn_r50"]) == 2
    assert "--encoder" in capsys.readouterr().err
