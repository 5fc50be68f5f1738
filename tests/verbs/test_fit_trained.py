"""fit with a detector that learns by gradient, from a dataset to a calibrated bundle and its report."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml

from offnormal.bundle import load
from offnormal.config.layers import build
from offnormal.config.score import BenchmarkConfig, EvaluateConfig
from offnormal.data.open import open_datasets
from offnormal.errors import CalibrationError, ConfigError
from offnormal.scoring import Scorer
from offnormal.testing.scenes import write_parts
from offnormal.verbs.benchmark import benchmark_bundle
from offnormal.verbs.evaluate import evaluate_run
from offnormal.verbs.fit import fit_config, fit_run
from tests.footage import write_footage


def fit(name="plain", **given):
    config = {"size": 16, "batch_size": 4, "device": "cpu", "workers": 2, **given}
    return fit_run(name, build(fit_config(name), config, environment={}))[0]


def log(run, event):
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.fixture
def parts(tmp_path, plugged):
    return write_parts(tmp_path / "parts", train=20, size=32)


def test_a_fit_gives_a_bundle_calibrated_on_what_was_kept_back(parts, tmp_path):
    run = fit(data=parts, out=tmp_path / "runs", epochs=3)
    training = run.bundle.card["training"]
    assert (run.bundle.card["data"]["images"], training["kept_back"]) == (16, 4)
    assert (training["epochs"], training["steps"], training["stopped"]) == (3, 12, "done")
    calibration = run.bundle.calibration
    assert (calibration.kind, len(calibration.scores)) == ("held_out", 4)
    assert "held-out" in calibration.explanation
    assert not (run.path / "checkpoints").exists()
    assert load(run.path).hash == run.bundle.hash
    assert [line["event"] for line in log(run, "trained")] == ["trained"]


def test_the_threshold_rests_on_the_scores_of_the_finished_detector(parts, tmp_path):
    run = fit(data=parts, out=tmp_path / "runs", epochs=1, group_by=r"(\d)\.png")
    (dataset,) = open_datasets(parts, group_by=r"(\d)\.png")
    from offnormal.data.loaders import ImageLoader

    scored = Scorer(run.bundle.detector).over(ImageLoader(dataset.train, run.bundle.detector.input, batch_size=4))
    every = {
        float(s): sample.group for batch in scored for s, sample in zip(batch.scores.score, batch.samples, strict=True)
    }
    held = run.bundle.calibration.scores
    assert all(min(abs(score - known) for known in every) < 1e-5 for score in held)
    groups = {group for known, group in every.items() if min(abs(known - score) for score in held) < 1e-5}
    assert len(groups) == run.bundle.calibration.groups == 2


def test_a_fit_repeats_exactly_wherever_its_samples_are_kept(parts, tmp_path):
    given = {"data": parts, "out": tmp_path / "runs", "epochs": 2, "cache_dir": tmp_path / "cache"}
    first, again, disk, off = (fit("pair", cache=cache, **given).bundle for cache in ("ram", "ram", "disk", "off"))
    assert first.hash == again.hash == disk.hash
    for key, value in first.detector.state_dict().items():  # the scale comes from batches that lie otherwise in memory
        torch.testing.assert_close(off.detector.state_dict()[key], value, rtol=1e-5 if key == "scale" else 0, atol=0)


def test_a_rate_is_kept_back_for_or_refused_before_anything_is_learned(parts, tmp_path):
    run = fit(data=parts, out=tmp_path / "runs", epochs=1, rate="10%")
    assert run.bundle.card["training"]["kept_back"] == 9
    with pytest.raises(CalibrationError, match="expected 38, got 20"):
        fit(data=parts, out=tmp_path / "refused", epochs=1, rate="5%")
    (refused,) = (tmp_path / "refused").iterdir()
    assert "step" not in (refused / "log.jsonl").read_text()


@pytest.mark.parametrize("name", ["plain", "pair"])
def test_two_pictures_are_enough(plugged, tmp_path, name):
    data = write_parts(tmp_path / "two", train=2, size=32)
    run = fit(name, data=data, out=tmp_path / "runs", epochs=1)
    assert (run.bundle.card["data"]["images"], run.bundle.card["training"]["kept_back"]) == (1, 1)


def test_the_run_of_one_of_several_categories_says_which(plugged, tmp_path):
    for category in ("nut", "screw"):
        write_parts(tmp_path / "both" / category, train=4, size=32)
    given = {"data": tmp_path / "both", "category": "all", "out": tmp_path / "runs", "size": 16, "epochs": 1}
    runs = fit_run("plain", build(fit_config("plain"), given, environment={}))
    assert [yaml.safe_load((run.path / "config.yaml").read_text())["category"] for run in runs] == ["nut", "screw"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 1, "steps": 1}, "give one of them"),
        ({"floor": 0.1}, "without a --schedule"),
        ({"precision": 16}, "give bf16"),
        ({"accumulate": 5}, "at least one sample in each"),
        ({"devices": 3, "accumulate": 2}, "at least one sample in each"),
        ({"epochs": 0}, "epochs"),
        ({"max_time": "soon"}, "max_time"),
    ],
)
def test_settings_that_mean_nothing_together_are_refused_with_advice(parts, tmp_path, given, message):
    with pytest.raises(ConfigError, match=message):
        fit(data=parts, out=tmp_path / "runs", **given)
    assert not (tmp_path / "runs").exists()


def test_detectors_that_do_not_train_know_none_of_it():
    with pytest.raises(ConfigError, match="unknown key 'epochs'"):
        build(fit_config("padim"), {"epochs": 3}, environment={})


@pytest.mark.parametrize("train", [3, 1])
@pytest.mark.parametrize("cache", ["ram", "off"])
def test_videos_are_learned_from_and_whole_ones_or_the_end_kept_back(plugged, tmp_path, train, cache):
    root = write_footage(tmp_path / "yard", train=train, frames=30)
    run = fit(data=root, out=tmp_path / "runs", epochs=2, cache=cache)
    kept = run.bundle.card["training"]["kept_back"]
    assert kept == (30 if train == 3 else 6)
    assert run.bundle.card["data"]["images"] == 30 * train - kept
    assert run.bundle.calibration.rate.per == "frame"
    assert len(run.bundle.calibration.scores) == kept


def test_the_report_shows_how_it_learned(parts, tmp_path):
    run = fit("pair", data=parts, out=tmp_path / "runs", epochs=2)
    (dataset,) = open_datasets(parts)
    _, evaluated = evaluate_run(run.bundle, dataset, build(EvaluateConfig, {"device": "cpu"}, environment={}))
    page = (evaluated.path / "report.html").read_text()
    assert "<h2>Training</h2>" in page
    assert "Over the steps: maker" in page


def test_the_report_of_videos_shows_it_too(plugged, tmp_path):
    root = write_footage(tmp_path / "yard", train=2, frames=20)
    run = fit(data=root, out=tmp_path / "runs", epochs=1)
    (dataset,) = open_datasets(root)
    _, evaluated = evaluate_run(run.bundle, dataset, build(EvaluateConfig, {"device": "cpu"}, environment={}))
    assert "Over the steps: plain" in (evaluated.path / "report.html").read_text()


def test_a_trained_bundle_is_measured_without_a_reference(parts, tmp_path):
    run = fit(data=parts, out=tmp_path / "runs", epochs=1)
    config = build(BenchmarkConfig, {"images": 4, "rounds": 1, "device": "cpu"}, environment={})
    found = benchmark_bundle(load(run.path), config)
    assert found.reference == []
    assert found.ratios == {}
    assert found.start_up_s > 0


def test_scores_kept_back_are_one_a_frame(plugged, tmp_path):
    from offnormal.data.video_loader import VideoLoader
    from offnormal.training.held_out import score_held_out
    from offnormal.types import InputSpec

    root = write_footage(tmp_path / "yard", train=1, frames=12)
    run = fit(data=root, out=tmp_path / "runs", epochs=1)
    detector = run.bundle.detector
    (dataset,) = open_datasets(root)

    class Twice(type(detector)):
        """Speaks of the last two frames of a clip of three, and says other things of each."""

        def forward(self, x):
            from offnormal.types import Output

            return Output(x.mean((1, 3, 4))[:, 1:], None)

    detector.__class__ = Twice
    detector.input = InputSpec(size=(16, 16), frames=3, targets=(1, 2))
    loader = VideoLoader(dataset.train, detector.input, batch_size=4)
    found = score_held_out(Scorer(detector), loader)
    assert [sample.frame for sample in found.samples] == list(range(1, 12))
    plain = VideoLoader(dataset.train, InputSpec(size=(16, 16)), batch_size=100)
    (batch,) = plain
    np.testing.assert_allclose(found.score, batch.pixels.mean((1, 2, 3))[1:], rtol=1e-5)
