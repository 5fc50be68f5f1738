"""Fit of a trained detector, from a dataset to a calibrated bundle and its report."""

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


def fit(name="plain", **options):
    config = {"size": 16, "batch_size": 4, "device": "cpu", "workers": 2, **options}
    return fit_run(name, build(fit_config(name), config, environment={}))[0]


def log(run, event):
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.fixture
def parts(tmp_path, plugged):
    return write_parts(tmp_path / "parts", train=20, size=32)


def test_a_fit_gives_a_bundle_calibrated_on_held_out_samples(parts, tmp_path):
    run = fit(data=parts, out=tmp_path / "runs", epochs=3)
    training = run.bundle.card["training"]
    assert (run.bundle.card["data"]["images"], training["held_out"]) == (16, 4)
    assert (training["epochs"], training["steps"], training["stopped"]) == (3, 12, "done")
    calibration = run.bundle.calibration
    assert (calibration.kind, len(calibration.scores)) == ("held_out", 4)
    assert "held-out" in calibration.explanation
    assert not (run.path / "checkpoints").exists()
    assert load(run.path).hash == run.bundle.hash
    assert [line["event"] for line in log(run, "trained")] == ["trained"]


def test_the_threshold_is_based_on_the_scores_of_the_finished_detector(parts, tmp_path):
    run = fit(data=parts, out=tmp_path / "runs", epochs=1, group_by=r"(\d)\.png")
    (dataset,) = open_datasets(parts, group_by=r"(\d)\.png")
    from offnormal.data.loaders import ImageLoader

    scored = Scorer(run.bundle.detector).score_batches(
        ImageLoader(dataset.train, run.bundle.detector.input, batch_size=4)
    )
    groups_by_score = {
        float(s): sample.group for batch in scored for s, sample in zip(batch.scores.score, batch.samples, strict=True)
    }
    held_out = run.bundle.calibration.scores
    assert all(min(abs(score - other) for other in groups_by_score) < 1e-5 for score in held_out)
    groups = {group for other, group in groups_by_score.items() if min(abs(other - score) for score in held_out) < 1e-5}
    assert len(groups) == run.bundle.calibration.groups == 2


def test_a_fit_repeats_exactly_wherever_its_samples_are_stored(parts, tmp_path):
    options = {"data": parts, "out": tmp_path / "runs", "epochs": 2, "cache_dir": tmp_path / "cache"}
    first, again, disk, off = (fit("pair", cache=cache, **options).bundle for cache in ("ram", "ram", "disk", "off"))
    assert first.hash == again.hash == disk.hash
    for key, value in first.detector.state_dict().items():  # the scale comes from batches with another memory layout
        torch.testing.assert_close(off.detector.state_dict()[key], value, rtol=1e-5 if key == "scale" else 0, atol=0)


def test_a_rate_decides_the_held_out_samples_or_is_refused_before_training(parts, tmp_path):
    run = fit(data=parts, out=tmp_path / "runs", epochs=1, rate="10%")
    assert run.bundle.card["training"]["held_out"] == 9
    with pytest.raises(CalibrationError, match="expected 38, found 20"):
        fit(data=parts, out=tmp_path / "refused", epochs=1, rate="5%")
    (refused,) = (tmp_path / "refused").iterdir()
    assert "step" not in (refused / "log.jsonl").read_text()


@pytest.mark.parametrize("name", ["plain", "pair"])
def test_two_images_are_enough(plugged, tmp_path, name):
    data = write_parts(tmp_path / "two", train=2, size=32)
    run = fit(name, data=data, out=tmp_path / "runs", epochs=1)
    assert (run.bundle.card["data"]["images"], run.bundle.card["training"]["held_out"]) == (1, 1)


def test_the_run_of_one_of_several_categories_records_it(plugged, tmp_path):
    for category in ("nut", "screw"):
        write_parts(tmp_path / "both" / category, train=4, size=32)
    options = {"data": tmp_path / "both", "category": "all", "out": tmp_path / "runs", "size": 16, "epochs": 1}
    runs = fit_run("plain", build(fit_config("plain"), options, environment={}))
    assert [yaml.safe_load((run.path / "config.yaml").read_text())["category"] for run in runs] == ["nut", "screw"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 1, "steps": 1}, "give one of them"),
        ({"floor": 0.1}, "needs --schedule"),
        ({"precision": 16}, "use bf16"),
        ({"accumulate": 5}, "one sample per device"),
        ({"devices": 3, "accumulate": 2}, "one sample per device"),
        ({"epochs": 0}, "epochs"),
        ({"max_time": "soon"}, "max_time"),
    ],
)
def test_contradictory_settings_are_refused_with_advice(parts, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        fit(data=parts, out=tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_statistical_detectors_have_no_training_options():
    with pytest.raises(ConfigError, match="unknown key 'epochs'"):
        build(fit_config("padim"), {"epochs": 3}, environment={})


@pytest.mark.parametrize("train", [3, 1])
@pytest.mark.parametrize("cache", ["ram", "off"])
def test_whole_videos_or_the_end_of_one_are_held_out(plugged, tmp_path, train, cache):
    root = write_footage(tmp_path / "yard", train=train, frames=30)
    run = fit(data=root, out=tmp_path / "runs", epochs=2, cache=cache)
    held_out = run.bundle.card["training"]["held_out"]
    assert held_out == (30 if train == 3 else 6)
    assert run.bundle.card["data"]["images"] == 30 * train - held_out
    assert run.bundle.calibration.rate.per == "frame"
    assert len(run.bundle.calibration.scores) == held_out


def test_the_report_shows_the_training(parts, tmp_path):
    run = fit("pair", data=parts, out=tmp_path / "runs", epochs=2)
    (dataset,) = open_datasets(parts)
    _, evaluated = evaluate_run(run.bundle, dataset, build(EvaluateConfig, {"device": "cpu"}, environment={}))
    page = (evaluated.path / "report.html").read_text()
    assert "<h2>Training</h2>" in page
    assert "Over the steps: maker" in page


def test_the_report_of_videos_shows_the_training_too(plugged, tmp_path):
    root = write_footage(tmp_path / "yard", train=2, frames=20)
    run = fit(data=root, out=tmp_path / "runs", epochs=1)
    (dataset,) = open_datasets(root)
    _, evaluated = evaluate_run(run.bundle, dataset, build(EvaluateConfig, {"device": "cpu"}, environment={}))
    assert "Over the steps: plain" in (evaluated.path / "report.html").read_text()


def test_a_trained_bundle_is_benchmarked_without_a_reference(parts, tmp_path):
    run = fit(data=parts, out=tmp_path / "runs", epochs=1)
    config = build(BenchmarkConfig, {"images": 4, "rounds": 1, "device": "cpu"}, environment={})
    benchmark = benchmark_bundle(load(run.path), config)
    assert benchmark.reference == []
    assert benchmark.ratios == {}
    assert benchmark.start_up_s > 0


def test_each_held_out_frame_has_one_score(plugged, tmp_path):
    from offnormal.data.video_loader import VideoLoader
    from offnormal.training.held_out import score_held_out
    from offnormal.types import InputSpec

    root = write_footage(tmp_path / "yard", train=1, frames=12)
    run = fit(data=root, out=tmp_path / "runs", epochs=1)
    detector = run.bundle.detector
    (dataset,) = open_datasets(root)

    class Twice(type(detector)):
        """Scores the last two frames of a clip of three, each with another value."""

        def forward(self, x):
            from offnormal.types import Output

            return Output(x.mean((1, 3, 4))[:, 1:], None)

    detector.__class__ = Twice
    detector.input = InputSpec(size=(16, 16), frames=3, targets=(1, 2))
    loader = VideoLoader(dataset.train, detector.input, batch_size=4)
    scores = score_held_out(Scorer(detector), loader)
    assert [sample.frame for sample in scores.samples] == list(range(1, 12))
    plain = VideoLoader(dataset.train, InputSpec(size=(16, 16)), batch_size=100)
    (batch,) = plain
    np.testing.assert_allclose(scores.score, batch.pixels.mean((1, 2, 3))[1:], rtol=1e-5)
