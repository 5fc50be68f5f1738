"""The embedding autoencoder as a new user tries it: on footage, whole clips and pictures, with other networks."""

import json
from pathlib import Path

import pytest
import torch

from offnormal.backbones.video.catalogue import build_embedder
from offnormal.bundle import load
from offnormal.cli.fit import _training_rows
from offnormal.cli.main import run
from offnormal.detectors.embedding_ae import options as embedding_ae_options
from offnormal.testing.scenes import write_scenes

SMALL = ["--batch-size", "4", "--hidden", "16", "--hidden", "8"]


@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "yard", train=4, frames=16)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home" / "torch"))


def fitted(capsys, tmp_path, data, *arguments, steps=20):
    flags = ["--data", str(data), *map(str, arguments), *SMALL, "--out", str(tmp_path / "runs"), "--json"]
    flags += ["--steps", str(steps)] if steps else []
    assert run(["fit", "embedding_ae", *flags]) == 0
    return json.loads(capsys.readouterr().out)


def events(output, event):
    lines = (Path(output["run"]) / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == event]


def test_footage_gives_every_frame_a_score_and_a_table_of_heads(yard, tmp_path, capsys):
    fit = fitted(capsys, tmp_path, yard, "--size", 32, "--frames", 4, "--hop", 2, "--head", "mahalanobis")
    (embedded,) = events(fit, "embedded")
    assert (embedded["computed"], embedded["cached"], embedded["views"]) == (28, 0, 0)
    assert run(["evaluate", fit["bundle"], "--data", str(yard), "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert evaluation["metrics"]["frame_AUC_micro"] > 0.9
    terms = json.loads((Path(fit["run"]) / "metrics.json").read_text())["terms"]
    assert set(terms) == {"ae", "centroid", "mahalanobis", "knn", "latent"}
    assert terms["mahalanobis"]["frame_AUC_micro"] == evaluation["metrics"]["frame_AUC_micro"]
    assert "Terms of the score" in (Path(evaluation["run"]) / "report.html").read_text(encoding="utf-8")
    assert run(["predict", fit["bundle"], str(yard / "test" / "odd.mp4"), "--csv", str(tmp_path / "odd.csv")]) == 0
    rows = (tmp_path / "odd.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 17
    assert all(row.split(",")[7] for row in rows[1:])  # windows cover all frames


def test_another_head_on_the_same_videos_embeds_nothing(yard, tmp_path, capsys):
    flags = ("--size", 32, "--frames", 4, "--hop", 2)
    first = fitted(capsys, tmp_path, yard, *flags)
    again = fitted(capsys, tmp_path, yard, *flags, "--head", "knn")
    (embedded,) = events(again, "embedded")
    assert (embedded["computed"], embedded["cached"]) == (0, 28)
    by_ae, by_knn = (load(fit["bundle"]).detector for fit in (first, again))
    assert torch.equal(by_ae.heads.neighbors.kept, by_knn.heads.neighbors.kept)
    assert list((tmp_path / "home" / ".cache" / "offnormal" / "embeddings").iterdir())
    fresh = fitted(capsys, tmp_path, yard, *flags, "--embeddings-gb", 0)
    assert events(fresh, "embedded")[0]["computed"] == 28
    assert fresh["hash"] == first["hash"]


def test_clips_as_a_whole_have_one_score(yard, tmp_path, capsys):
    fit = fitted(capsys, tmp_path, yard, "--size", 32, "--sampling", "uniform", "--frames", 4, "--views", 2)
    bundle = load(fit["bundle"])
    assert bundle.detector.input.sampling == "uniform"
    assert fit["data"]["images"] + fit["training"]["held_out"] == 4
    assert run(["predict", fit["bundle"], str(yard / "test" / "odd.mp4"), "--csv", str(tmp_path / "odd.csv")]) == 0
    rows = [row.split(",") for row in (tmp_path / "odd.csv").read_text(encoding="utf-8").splitlines()]
    assert len({row[rows[0].index("score")] for row in rows[1:]}) == 1


def test_networks_of_clips_with_random_weights_and_with_weights_from_a_file(yard, tmp_path, capsys):
    flags = ["--embedder", "r2plus1d_18", "--size", "32", "--frames", "4", "--hop", "6", "--clip-fps", "10"]
    fit = fitted(capsys, tmp_path, yard, *flags, "--weights", "random")
    assert "random weights" in json.loads((Path(fit["bundle"]) / "card.json").read_text())["weights"][0]["source"]
    theirs = build_embedder("r2plus1d_18").trunk.state_dict()
    torch.save({**theirs, "fc.weight": torch.zeros(400, 512), "fc.bias": torch.zeros(400)}, tmp_path / "theirs.pth")
    flags += ["--weights", tmp_path / "theirs.pth", "--unfreeze", "layer4.1", "--finetune-from", 5, "--keep", "last"]
    fit = fitted(capsys, tmp_path, yard, *flags)
    detector = load(fit["bundle"]).detector
    weights = detector.embedder.trunk.state_dict()
    changed = {name for name, value in weights.items() if not torch.equal(value, theirs[name])}
    assert changed and all(name.startswith("layer4.1.") for name in changed)
    assert not any("running" in name for name in changed)
    part = sum(parameter.numel() for parameter in detector.embedder.trunk.layer4[1].parameters())
    learned = fit["training"]["parameters"]
    assert learned["learning"] == part + sum(parameter.numel() for parameter in detector.net.parameters())
    assert learned["total"] == sum(parameter.numel() for parameter in detector.parameters())
    assert "layer4.1 fine-tuned" in detector.cards()[0].source
    assert torch.isfinite(detector(torch.rand(1, 3, 4, 32, 32)).score).all()


def test_the_embedder_learns_for_some_epochs_when_the_rest_has_learned(yard, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(embedding_ae_options, "STEPS", 40)
    flags = ("--size", 32, "--frames", 4, "--hop", 2, "--unfreeze", "blocks.6", "--finetune-epochs", 3)
    fit = fitted(capsys, tmp_path, yard, *flags, "--keep", "last", steps=None)
    steps = events(fit, "step")
    per_epoch = next(line["steps"] for line in events(fit, "epoch"))
    late = [line for line in steps if "embedder" in line["lr"]]
    assert len(late) == 3 * per_epoch and len(steps) - len(late) == 40 + -40 % per_epoch
    assert late == steps[-len(late) :] and late[0]["lr"]["embedder"] == 1e-5
    assert late[-1]["lr"]["embedder"] == pytest.approx(1e-7)
    assert "blocks.6 fine-tuned" in load(fit["bundle"]).detector.cards()[0].source


def test_an_embedder_that_learns_to_no_avail_is_told_of(yard, tmp_path, capsys, caplog):
    flags = ("--size", 32, "--frames", 4, "--hop", 2, "--unfreeze", "blocks.6", "--finetune-rate", 1)
    fit = fitted(capsys, tmp_path, yard, *flags, "--finetune-from", 4)
    (trained,) = events(fit, "trained")
    first = next(line["step"] for line in events(fit, "step") if "embedder" in line["lr"])
    assert trained["best_step"] >= first and trained["frozen_loss"] < trained["best_loss"]
    early = [line["losses"]["loss"] for line in events(fit, "validation") if line["step"] < first]
    assert trained["frozen_loss"] == min(early)
    assert "held-out normals had a lower loss before fine-tuning" in caplog.text
    detector = load(fit["bundle"]).detector
    assert "blocks.6 fine-tuned" in detector.cards()[0].source
    assert dict(_training_rows(fit["training"]))["best loss"].endswith(
        f" ({trained['frozen_loss']:.4g} before fine-tuning)"
    )


def test_pictures_are_judged_one_by_one(parts, tmp_path, capsys):
    fit = fitted(capsys, tmp_path, parts, "--size", 64, "--head", "knn")
    assert load(fit["bundle"]).detector.input.frames == 1
    assert run(["evaluate", fit["bundle"], "--data", str(parts), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["image_AUROC"] > 0.9


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--embedder", "slowfast_r50"], "--weights"),
        (["--embedder", "slowfast_r60"], "did you mean 'slowfast_r50'"),
        (["--unfreeze", "layer4"], "no trainable part 'layer4'; expected one of"),
        (["--unfreeze", "blocks.6", "--finetune-from", "30", "--epochs", "10"], "with epochs=10: no epoch is left"),
        (["--unfreeze", "blocks.6", "--finetune-from", "30", "--steps", "3"], "with epochs=3: no epoch is left"),
        (["--finetune-epochs", "3"], "finetune_epochs without unfreeze"),
        (["--sampling", "uniform", "--hop", "2"], "hop with sampling=uniform"),
        (["--views", "-1"], "views"),
    ],
)
def test_what_cannot_be_is_refused(yard, tmp_path, capsys, more, message):
    flags = ["--data", str(yard), "--size", "32", *more, "--out", str(tmp_path / "runs")]
    assert run(["fit", "embedding_ae", *flags]) == 2
    assert message in capsys.readouterr().err
