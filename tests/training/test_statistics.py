from dataclasses import replace

import numpy as np
import pytest
import torch

from offnormal.data.layouts.labeled import normal_items
from offnormal.data.loaders import ImageLoader
from offnormal.detectors.padim import PadimOptions
from offnormal.errors import DataError
from offnormal.training import statistics
from offnormal.training.statistics import _folds, fit_statistics
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


def test_every_image_is_scored_by_a_detector_fitted_without_it(samples):
    fitted = detector()
    normal_scores = fit_statistics(fitted, loader(samples), device=CPU)
    assert fitted.is_fitted
    assert normal_scores.kind == "leave_one_out"
    assert sorted(s.item.path for s in normal_scores.samples) == [s.path for s in samples]
    number = next(i for i, s in enumerate(normal_scores.samples) if s.item.path == samples[3].path)
    without_sample = detector()
    fit_statistics(without_sample, loader([s for s in samples if s.path != samples[3].path]), device=CPU)
    (batch,) = loader(samples[3:4])
    expected = without_sample(torch.from_numpy(batch.pixels))
    np.testing.assert_allclose(normal_scores.score[number], expected.score[0, 0], rtol=1e-3)
    np.testing.assert_allclose(normal_scores.peak[number], expected.map.max(), rtol=1e-3)


def test_groups_are_left_out_as_a_whole(samples):
    grouped = [replace(s, group=f"lot {i % 3}") for i, s in enumerate(samples)]
    normal_scores = fit_statistics(detector(), loader(grouped), device=CPU)
    assert normal_scores.kind == "leave_group_out"
    assert len(normal_scores.samples) == len(samples)
    number = next(i for i, s in enumerate(normal_scores.samples) if s.item.path == samples[4].path)
    without_sample = detector()
    fit_statistics(without_sample, loader([s for s in grouped if s.group != "lot 1"]), device=CPU)
    (batch,) = loader(grouped[4:5])
    np.testing.assert_allclose(
        normal_scores.score[number], without_sample(torch.from_numpy(batch.pixels)).score[0, 0], rtol=1e-3
    )


def test_whole_groups_are_distributed_over_at_most_ten_folds():
    counts = {f"g{i}": 10 + i % 3 for i in range(23)}
    folds = _folds(counts)
    assert len(folds) == 10
    assert sorted(group for fold in folds for group in fold) == sorted(counts)
    sizes = [sum(counts[group] for group in fold) for fold in folds]
    assert max(sizes) - min(sizes) <= 12


def test_a_few_groups_have_one_fold_each():
    assert sorted(map(sorted, _folds({"a": 18000, "b": 3, "c": 1}))) == [["a"], ["b"], ["c"]]


def test_unreadable_images_are_skipped_in_every_pass(samples, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    grouped = [replace(s, group=f"lot {i % 3}") for i, s in enumerate([*samples, image(tmp_path / "bad.png")])]
    normal_scores = fit_statistics(detector(), loader(grouped, on_error="skip"), device=CPU)
    assert sorted(s.item.path for s in normal_scores.samples) == [s.path for s in samples]


def test_the_stored_sample_is_bounded_and_random(samples, monkeypatch):
    monkeypatch.setattr(statistics, "_SAMPLE_BYTES", 1)
    monkeypatch.setattr(statistics, "_MIN_SAMPLES", 5)
    chosen = [
        tuple(s.item.path.name for s in fit_statistics(detector(), loader(samples), device=CPU, seed=s).samples)
        for s in (0, 0, 1)
    ]
    assert len(chosen[0]) == 5
    assert chosen[0] == chosen[1] != chosen[2]


def test_half_precision_changes_the_scores_only_slightly(samples, monkeypatch):
    precise = fit_statistics(detector(), loader(samples), device=CPU)
    monkeypatch.setattr(statistics, "_SAMPLE_BYTES", 1)
    half = fit_statistics(detector(), loader(samples), device=CPU)
    np.testing.assert_allclose(half.score, precise.score, rtol=0.02)


def test_few_images(samples):
    with pytest.raises(DataError, match="at least 2"):
        fit_statistics(detector(), loader(samples[:1]), device=CPU)
    two = detector()
    assert fit_statistics(two, loader(samples[:2]), device=CPU) is None
    assert two.is_fitted


def test_a_fit_is_the_same_for_the_same_seed(samples):
    a, b = detector(), detector()
    fit_statistics(a, loader(samples), device=CPU)
    fit_statistics(b, loader(samples), device=CPU)
    for key, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[key]), key
