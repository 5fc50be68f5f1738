"""Tests that hold for both pixel baselines; each baseline is a case."""

import numpy as np
import pytest
import torch

from offnormal.detectors.baselines import FrameDifference, FrameDifferenceOptions, PixelGaussian, PixelGaussianOptions
from offnormal.errors import ConfigError, FitError, NotFittedError
from offnormal.types import InputSpec

SIZE = (12, 16)
KINDS = {
    "gaussian": (PixelGaussian, PixelGaussianOptions, 1),
    "difference": (FrameDifference, FrameDifferenceOptions, 2),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def make(kind, **options):
    detector, settings, frames = kind
    fps = 2.5 if frames > 1 else None
    return detector(settings(**options), InputSpec(size=SIZE, channels=1, frames=frames, fps=fps))


def inputs(kind, n, seed=0):
    shape = (n, 1, *([kind[2]] if kind[2] > 1 else []), *SIZE)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def values(kind, x):
    """Values behind the statistics, (N, H, W) float64."""
    x = x.double().numpy()[:, 0]
    return x if kind[2] == 1 else np.abs(x[:, 1] - x[:, 0])


def excess(kind, deviation):
    return deviation**2 if kind[2] == 1 else np.maximum(deviation, 0)


def fitted(kind, n=20, **options):
    detector = make(kind, **options)
    for batch in torch.split(inputs(kind, n), 7):
        detector.update(batch)
    detector.finish()
    return detector


@pytest.mark.parametrize("method", ["mean", "max", "top"])
def test_maps_and_scores_equal_a_naive_computation_in_float64(kind, method):
    from scipy.ndimage import gaussian_filter

    train, test = values(kind, inputs(kind, 20)), values(kind, inputs(kind, 4, seed=9))
    variance = train.var(0, ddof=1)
    deviation = (test - train.mean(0)) / np.sqrt(variance + 0.3 * variance.mean())
    expected = np.stack([gaussian_filter(naive_map, 1.5) for naive_map in excess(kind, deviation)])
    output = fitted(kind, eps=0.3, sigma=1.5, pool=method, top_share=0.1)(inputs(kind, 4, seed=9))
    assert output.score.shape == (4, 1) and output.map.shape == (4, 1, *SIZE)
    np.testing.assert_allclose(output.map[:, 0], expected, rtol=1e-4, atol=1e-5)
    ordered = np.sort(expected.reshape(4, -1))[:, ::-1]
    pooled = {"mean": ordered.mean(1), "max": ordered[:, 0], "top": ordered[:, :19].mean(1)}[method]
    np.testing.assert_allclose(output.score[:, 0], pooled, rtol=1e-4)


def test_leave_one_out_scores_equal_refitting_without_the_sample(kind):
    detector, x = make(kind), inputs(kind, 9)
    detector.update(x)
    left_out = torch.cat([output.score for output in detector.leave_one_out(detector.embed(x))])
    for i in (0, 5):
        other = make(kind)
        other.update(torch.cat([x[:i], x[i + 1 :]]))
        other.finish()
        torch.testing.assert_close(left_out[i : i + 1], other(x[i : i + 1]).score)


def test_removing_a_part_and_merging_it_again_restores_the_detector(kind):
    whole, part, remaining = make(kind), make(kind), make(kind)
    x = inputs(kind, 12)
    for detector, merged_in in ((whole, x), (part, x[:5]), (remaining, x[5:])):
        detector.update(merged_in)
    reference, joined = whole.without(part), whole.blank()
    joined.merge(remaining)
    joined.merge(part)
    joined.merge(whole.blank())
    for detector in (whole, remaining, reference, joined):
        detector.finish()
    torch.testing.assert_close(reference(x).map, remaining(x).map)
    torch.testing.assert_close(joined(x).map, whole(x).map)


def test_an_ignored_region_never_counts_even_in_a_blank_copy(kind):
    region = torch.zeros(SIZE, dtype=torch.bool)
    region[:, :6] = True
    detector = make(kind)
    detector.ignore(region)
    detector = detector.blank()
    detector.update(inputs(kind, 20))
    detector.finish()
    test = inputs(kind, 2, seed=5)
    changed = test.clone()
    changed[..., :6] = 0
    changed[..., -1, :, :6] = 1
    before, after = detector(test), detector(changed)
    assert (before.map[..., :6] == 0).all()
    torch.testing.assert_close(before.map, after.map)
    torch.testing.assert_close(before.score, after.score)


def test_fitting_continues_after_finish_only_with_keep(kind):
    detector, x = make(kind), inputs(kind, 10)
    with pytest.raises(NotFittedError, match="update"):
        detector.finish()
    detector.update(x[:5])
    detector.finish(keep=True)
    detector.update(x[5:])
    detector.finish()
    whole = make(kind)
    whole.update(x)
    whole.finish()
    torch.testing.assert_close(detector(x).score, whole(x).score)
    with pytest.raises(NotFittedError, match="keep=True"):
        detector.without(whole)


def test_constant_frames_are_rejected(kind):
    detector = make(kind)
    detector.update(inputs(kind, 1).expand(4, *inputs(kind, 1).shape[1:]))
    with pytest.raises(FitError, match="all normal images are the same"):
        detector.finish()


def test_a_dead_pixel_alone_does_not_raise_the_score(kind):
    x, test = inputs(kind, 20), inputs(kind, 3, seed=4)
    x[..., 3, 5] = 0.5
    test[..., 3, 5] = 0.5
    detector = make(kind)
    detector.update(x)
    detector.finish()
    assert torch.isfinite(detector(test).map).all()
    assert (detector(test).map[:, 0, 3, 5] < detector(test).map.amax((1, 2, 3))).all()


def test_other_inputs_are_rejected(kind):
    detector, settings, frames = kind
    with pytest.raises(ConfigError, match=f"expects channels=1, frames={frames}"):
        detector(settings(), InputSpec(size=SIZE, channels=3, frames=frames))
    with pytest.raises(ConfigError, match=f"expects channels=1, frames={frames}"):
        detector(settings(), InputSpec(size=SIZE, channels=1, frames=3))


def test_there_is_no_backbone_card(kind):
    assert make(kind).cards() == []
    assert make(kind).reference() is None
