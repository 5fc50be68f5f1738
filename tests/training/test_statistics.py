from dataclasses import replace

import numpy as np
import pytest
import torch

from offnormal.data.layouts.labeled import normal_items
from offnormal.data.loaders import ImageLoader
from offnormal.detectors.padim import PadimOptions
from offnormal.errors import DataError
from offnormal.training import statistics
from offnormal.training.statistics import _folds, learn
from offnormal.types import InputSpec
from tests.detectors.padim.test_detector import ToyPadim
from tests.items import image

SPEC = InputSpec(size=(64, 64))
CPU = torch.device("cpu")


def detector():
    return ToyPadim(PadimOptions(eps_relative=False), SPEC)


def loader(samples, **more):
    return ImageLoader(samples, SPEC, batch_size=5, **more)


@pytest.fixture
def samples(parts):
    return normal_items(parts / "train" / "good")


def test_every_image_is_scored_by_a_detector_that_has_not_seen_it(samples):
    fitted = detector()
    left_out = learn(fitted, loader(samples), device=CPU)
    assert fitted.is_fitted
    assert left_out.kind == "leave_one_out"
    assert sorted(s.item.path for s in left_out.samples) == [s.path for s in samples]
    number = next(i for i, s in enumerate(left_out.samples) if s.item.path == samples[3].path)
    other = detector()
    learn(other, loader([s for s in samples if s.path != samples[3].path]), device=CPU)
    (batch,) = loader(samples[3:4])
    expected = other(torch.from_numpy(batch.pixels))
    np.testing.assert_allclose(left_out.score[number], expected.score[0, 0], rtol=1e-3)
    np.testing.assert_allclose(left_out.peak[number], expected.map.max(), rtol=1e-3)


def test_known_groups_are_left_out_whole(samples):
    grouped = [replace(s, group=f"lot {i % 3}") for i, s in enumerate(samples)]
    left_out = learn(detector(), loader(grouped), device=CPU)
    assert left_out.kind == "leave_group_out"
    assert len(left_out.samples) == len(samples)
    number = next(i for i, s in enumerate(left_out.samples) if s.item.path == samples[4].path)
    other = detector()
    learn(other, loader([s for s in grouped if s.group != "lot 1"]), device=CPU)
    (batch,) = loader(grouped[4:5])
    np.testing.assert_allclose(left_out.score[number], other(torch.from_numpy(batch.pixels)).score[0, 0], rtol=1e-3)


def test_groups_are_dealt_whole_into_at_most_ten_folds():
    counts = {f"g{i}": 10 + i % 3 for i in range(23)}
    folds = _folds(counts)
    assert len(folds) == 10
    assert sorted(group for fold in folds for group in fold) == sorted(counts)
    sizes = [sum(counts[group] for group in fold) for fold in folds]
    assert max(sizes) - min(sizes) <= 12


def test_few_groups_are_a_fold_each():
    assert sorted(map(sorted, _folds({"a": 18000, "b": 3, "c": 1}))) == [["a"], ["b"], ["c"]]


def test_bad_pictures_are_left_out_of_every_pass(samples, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    grouped = [replace(s, group=f"lot {i % 3}") for i, s in enumerate([*samples, image(tmp_path / "bad.png")])]
    left_out = learn(detector(), loader(grouped, on_error="skip"), device=CPU)
    assert sorted(s.item.path for s in left_out.samples) == [s.path for s in samples]


def test_the_sample_kept_is_bounded_and_random(samples, monkeypatch):
    monkeypatch.setattr(statistics, "_SAMPLE_BYTES", 1)
    monkeypatch.setattr(statistics, "_SAMPLE_LEAST", 5)
    chosen = [
        tuple(s.item.path.name for s in learn(detector(), loader(samples), device=CPU, seed=s).samples)
        for s in (0, 0, 1)
    ]
    assert len(chosen[0]) == 5
    assert chosen[0] == chosen[1] != chosen[2]


def test_half_precision_changes_left_out_scores_by_little(samples, monkeypatch):
    precise = learn(detector(), loader(samples), device=CPU)
    monkeypatch.setattr(statistics, "_SAMPLE_BYTES", 1)
    half = learn(detector(), loader(samples), device=CPU)
    np.testing.assert_allclose(half.score, precise.score, rtol=0.02)


def test_few_images(samples):
    with pytest.raises(DataError, match="at least 2"):
        learn(detector(), loader(samples[:1]), device=CPU)
    two = detector()
    assert learn(two, loader(samples[:2]), device=CPU) is None
    assert two.is_fitted


def test_a_fit_is_the_same_for_the_same_seed(samples):
    a, b = detector(), detector()
    learn(a, loader(samples), device=CPU)
    learn(b, loader(samples), device=CPU)
    for key, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[key]), key
