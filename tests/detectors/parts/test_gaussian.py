from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offnormal.detectors.parts.gaussian import PositionGaussian
from offnormal.errors import FitError, NotFittedError


def sample(n, channels=6, grid=(3, 4), seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.3, 3, channels)[:, None, None]
    return (torch.randn(n, channels, *grid, generator=generator) * scale + 5 * scale).to(dtype)


def naive_ridge(x, eps, relative):
    if not relative:
        return np.full(x.shape[1], eps)
    return eps * x.var(axis=0, ddof=1).mean(axis=(1, 2))


def naive_distances(train, test, eps=0.01, ridge=None):
    """Position by position with numpy in float64, as in the reference."""
    out = np.zeros((len(test), *test.shape[2:]))
    ridge = np.full(train.shape[1], eps) if ridge is None else ridge
    for i in range(train.shape[2]):
        for j in range(train.shape[3]):
            rows = train[:, :, i, j]
            inverse = np.linalg.inv(np.cov(rows, rowvar=False) + np.diag(ridge))
            for n, x in enumerate(test[:, :, i, j]):
                z = x - rows.mean(0)
                out[n, i, j] = np.sqrt(z @ inverse @ z)
    return out


def fitted(x, batch=5, **options):
    gaussian = PositionGaussian(**options)
    for piece in torch.split(x, batch):
        gaussian.update(piece)
    gaussian.finish()
    return gaussian


@pytest.mark.parametrize(
    ("dtype", "rtol", "reference"), [(torch.float32, 1e-4, "dist"), (torch.float64, 1e-9, "dist_f64")]
)
def test_distances_equal_the_reference(golden, dtype, rtol, reference):
    stored = golden("padim_gaussian_mahalanobis")
    gaussian = fitted(torch.from_numpy(stored["train"]).to(dtype))
    distances = gaussian.mahalanobis(torch.from_numpy(stored["test"]).to(dtype))
    np.testing.assert_allclose(distances.numpy(), stored[reference], rtol=rtol)


@pytest.mark.parametrize("finish", [False, True])
def test_mean_and_covariance_equal_the_reference(golden, finish):
    stored = golden("padim_gaussian_mahalanobis")
    gaussian = PositionGaussian(eps=0.01)
    gaussian.update(torch.from_numpy(stored["train"]).double())
    if finish:
        gaussian.finish()
    np.testing.assert_allclose(gaussian.mean.reshape(12, -1), stored["mean"], atol=1e-6)
    np.testing.assert_allclose(gaussian.covariance(), stored["cov_f64"].transpose(2, 0, 1), atol=1e-12)


@pytest.mark.parametrize("n", [2, 6])
def test_fewer_samples_than_channels_equal_the_reference(golden, n):
    stored = golden(f"padim_gaussian_rankdef_n{n}")
    gaussian = fitted(torch.from_numpy(stored["train"]), batch=1)
    assert gaussian.basis is not None, "the low-rank form was not used"
    distances = gaussian.mahalanobis(torch.from_numpy(stored["test"]))
    np.testing.assert_allclose(distances.numpy(), stored["dist"], rtol=1e-3)
    np.testing.assert_allclose(gaussian.covariance(), stored["cov"].transpose(2, 0, 1), atol=1e-5)


def test_distances_equal_anomalib(golden):
    stored = golden("padim_anomalib_variant")
    gaussian = fitted(torch.from_numpy(stored["train"]), eps=0.01 + 1e-5)
    distances = gaussian.mahalanobis(torch.from_numpy(stored["test"]))
    np.testing.assert_allclose(distances.numpy(), stored["dist"][:, 0], rtol=1e-3)


@pytest.mark.parametrize("n", [2, 5, 6, 7, 40])
@pytest.mark.parametrize("relative", [False, True])
def test_distances_equal_a_naive_loop(n, relative):
    train, test = sample(n), sample(4, seed=1)
    gaussian = fitted(train, batch=3, eps=0.05, relative=relative)
    expected = naive_distances(train.numpy(), test.numpy(), ridge=naive_ridge(train.numpy(), 0.05, relative))
    np.testing.assert_allclose(gaussian.mahalanobis(test), expected, rtol=1e-8)


@pytest.mark.parametrize(("precision", "rtol"), [(torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("n", [20, 300])
def test_half_precision_factors_change_distances_little(precision, rtol, n):
    train, test = sample(n, channels=80, dtype=torch.float32), sample(6, channels=80, seed=1, dtype=torch.float32)
    exact = fitted(train, relative=True)
    rounded = fitted(train, relative=True, precision=precision)
    assert rounded.whitener.dtype == precision
    assert rounded.whitener.shape == exact.whitener.shape
    expected = naive_distances(
        train.double().numpy(), test.double().numpy(), ridge=naive_ridge(train.double().numpy(), 0.01, True)
    )
    np.testing.assert_allclose(exact.mahalanobis(test), expected, rtol=1e-4)
    np.testing.assert_allclose(rounded.mahalanobis(test), expected, rtol=rtol)
    np.testing.assert_allclose(rounded.covariance(), exact.covariance(), rtol=0.05, atol=0.05)


def shrunk(train, share, eps=0.05):
    """Covariances (P, D, D) shrunk toward the ridge with the same trace, naively in float64."""
    rows = train.transpose(2, 3, 0, 1).reshape(-1, *train.shape[:2])
    covariances = []
    for x in rows:
        covariance = np.cov(x, rowvar=False)
        mean_variance = np.trace(covariance) / len(covariance)
        covariances.append((1 - share) * covariance + (eps + share * mean_variance) * np.eye(len(covariance)))
    return np.stack(covariances)


@pytest.mark.parametrize("n", [3, 5, 40])
def test_shrinkage_moves_covariances_toward_a_multiple_of_the_ridge(n):
    train, test = sample(n), sample(4, seed=1)
    gaussian = fitted(train, eps=0.05, shrinkage=0.3)
    expected = shrunk(train.numpy(), 0.3)
    np.testing.assert_allclose(gaussian.covariance(), expected, rtol=1e-8)
    z = (test - train.mean(0)).permute(2, 3, 0, 1).flatten(0, 1).numpy()
    naive = np.sqrt(np.einsum("pnd,pde,pne->np", z, np.linalg.inv(expected), z)).reshape(4, 3, 4)
    np.testing.assert_allclose(gaussian.mahalanobis(test), naive, rtol=1e-8)


@pytest.mark.parametrize("n", [5, 40])
def test_shrinkage_auto_is_the_oracle_approximation(n):
    x = sample(n, grid=(1, 1))
    s = np.cov(x[:, :, 0, 0].numpy(), rowvar=False) / 0.05
    d, squares_sum, trace = 6, np.trace(s @ s), np.trace(s)
    rho = min(1, ((1 - 2 / d) * squares_sum + trace**2) / ((n + 1 - 2 / d) * (squares_sum - trace**2 / d)))
    np.testing.assert_allclose(fitted(x, eps=0.05, shrinkage="auto").covariance(), shrunk(x.numpy(), rho), rtol=1e-8)


@pytest.mark.parametrize("n", [4, 5, 40])
@pytest.mark.parametrize("shrinkage", [0.0, 0.2])
def test_a_rank_stores_the_largest_variances_and_uses_the_ridge_elsewhere(n, shrinkage):
    train, test = sample(n), sample(4, seed=1)
    gaussian = fitted(train, eps=0.05, rank=2, shrinkage=shrinkage)
    values, vectors = np.linalg.eigh(shrunk(train.numpy(), shrinkage))
    floor = 0.05 + shrinkage * np.array([np.trace(c) for c in shrunk(train.numpy(), 0, eps=0)]) / 6
    values[:, :-2] = floor[:, None]
    rank = (vectors * values[:, None]) @ vectors.transpose(0, 2, 1)
    np.testing.assert_allclose(gaussian.covariance(), rank, rtol=1e-7, atol=1e-9)
    z = (test - train.mean(0)).permute(2, 3, 0, 1).flatten(0, 1).numpy()
    naive = np.sqrt(np.einsum("pnd,pde,pne->np", z, np.linalg.inv(rank), z)).reshape(4, 3, 4)
    np.testing.assert_allclose(gaussian.mahalanobis(test), naive, rtol=1e-7)


def test_a_rank_above_the_number_of_samples_changes_nothing():
    train, test = sample(5), sample(4, seed=1)
    torch.testing.assert_close(fitted(train, rank=6).mahalanobis(test), fitted(train).mahalanobis(test))


@pytest.mark.parametrize("n", [5, 8, 60])
def test_a_probe_is_measured_without_the_sample(n):
    x, probe = sample(n, seed=4), sample(n, seed=9)
    gaussian = PositionGaussian(eps=0.01)
    gaussian.update(x)
    distances = gaussian.leave_one_out(x, probe)
    for i in (0, n - 1):
        expected = naive_distances(np.delete(x.numpy(), i, axis=0), probe[i : i + 1].numpy())
        np.testing.assert_allclose(distances[i : i + 1], expected, rtol=1e-6)


def test_many_positions_store_samples_and_factors_in_half_precision(monkeypatch):
    from offnormal.detectors.parts import gaussian as module

    train, test = sample(8, channels=40, dtype=torch.float32), sample(3, channels=40, seed=1, dtype=torch.float32)
    exact = fitted(train, precision="auto", relative=True)
    assert exact.whitener.dtype == exact.basis.dtype == torch.float32
    monkeypatch.setattr(module, "_LARGE_BYTES", 1000)
    half = PositionGaussian(precision="auto", relative=True)
    half.update(train)
    assert {rows.dtype for rows in half._moments._rows} == {torch.float16}
    half.finish()
    assert half.whitener.dtype == half.basis.dtype == torch.float16
    np.testing.assert_allclose(half.mahalanobis(test), exact.mahalanobis(test), rtol=1e-3)


def test_relative_eps_makes_distances_independent_of_the_scale_of_channels():
    train, test = sample(30), sample(4, seed=1)
    scale = torch.tensor([0.5, 3, 1, 2, 0.2, 2.0], dtype=torch.float64)[:, None, None]
    plain = fitted(train, relative=True).mahalanobis(test)
    scaled = fitted(train * scale, relative=True).mahalanobis(test * scale)
    torch.testing.assert_close(scaled, plain)
    few = fitted(train[:4] * scale, relative=True).mahalanobis(test * scale)
    torch.testing.assert_close(few, fitted(train[:4], relative=True).mahalanobis(test))


def test_a_constant_channel_has_a_minimum_variance():
    train, test = sample(20), sample(3, seed=2)
    train[:, 2] = 4.0
    variance = train.numpy().var(axis=0, ddof=1).mean(axis=(1, 2))
    ridge = 0.01 * np.where(variance > 0, variance, 1e-4 * variance.mean())
    distances = fitted(train, relative=True).mahalanobis(test)
    np.testing.assert_allclose(distances, naive_distances(train.numpy(), test.numpy(), ridge=ridge), rtol=1e-8)


def test_factors_above_the_size_limit_are_stored_in_half_precision(monkeypatch):
    from offnormal.detectors.parts import gaussian as module

    monkeypatch.setattr(module, "_LARGE_BYTES", 1000)
    automatic = PositionGaussian(precision="auto")
    assert automatic._storage_dtype(torch.float32, 250) == torch.float32  # of 4 bytes each
    assert automatic._storage_dtype(torch.float32, 251) == torch.float16


def test_a_constant_channel_gives_finite_distances():
    train = sample(20)
    train[:, 2] = 4.0
    for n in (4, 20):
        assert torch.isfinite(fitted(train[:n], relative=True).mahalanobis(sample(3, seed=2))).all()


@given(cuts=st.lists(st.integers(1, 29), max_size=4), order=st.randoms(), n=st.sampled_from([5, 30]))
@settings(max_examples=30, deadline=None)
def test_parts_merged_in_any_order_equal_the_whole(cuts, order, n):
    x = sample(n, grid=(2, 2))
    edges = sorted({0, n, *(cut for cut in cuts if cut < n)})
    pieces = [x[a:b] for a, b in pairwise(edges)]
    order.shuffle(pieces)
    total = PositionGaussian()
    for piece in pieces:
        part = PositionGaussian()
        part.update(piece)
        total.merge(part)
    whole = PositionGaussian()
    whole.update(x)
    torch.testing.assert_close(total.covariance(), whole.covariance())
    torch.testing.assert_close(total.mean, whole.mean)


def test_float32_accumulation_survives_a_large_mean():
    x = sample(400, seed=3, dtype=torch.float64) * 0.01 + 100
    gaussian = fitted(x.float(), batch=16)
    expected = fitted(x, batch=400).covariance()
    torch.testing.assert_close(gaussian.covariance().double(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("n", [4, 9, 30])
def test_without_equals_a_fit_on_the_remaining_samples(n):
    x = sample(n)
    whole, part, remaining = PositionGaussian(), PositionGaussian(), PositionGaussian()
    whole.update(x)
    part.update(x[:2])
    remaining.update(x[2:])
    count = whole.without(part)
    torch.testing.assert_close(count.covariance(), remaining.covariance())
    count.finish()
    remaining.finish()
    torch.testing.assert_close(count.mahalanobis(x), remaining.mahalanobis(x))


@pytest.mark.parametrize(
    ("n", "dtype", "rtol"),
    [
        (3, torch.float64, 1e-8),
        (5, torch.float64, 1e-8),
        (6, torch.float32, 1e-3),
        (8, torch.float32, 1e-3),
        (60, torch.float32, 1e-4),
    ],
)
def test_leave_one_out_equals_refitting_without_the_sample(n, dtype, rtol):
    x = sample(n, seed=4, dtype=dtype)
    gaussian = PositionGaussian(eps=0.01)
    gaussian.update(x)
    left_out = gaussian.leave_one_out(x)
    for i in range(n):
        remaining = np.delete(x.double().numpy(), i, axis=0)
        expected = naive_distances(remaining, x[i : i + 1].double().numpy())
        np.testing.assert_allclose(left_out[i : i + 1], expected, rtol=rtol)


@pytest.mark.parametrize("n", [5, 40])
def test_leave_one_out_shrinks_the_other_covariances_toward_the_common_one(n):
    x = sample(n, grid=(1, 2), seed=4)
    gaussian = PositionGaussian(eps=0.05, shrinkage=0.3)
    gaussian.update(x)
    left_out = gaussian.leave_one_out(x)
    for position in range(2):
        rows = x[:, :, 0, position].numpy()
        floor = 0.05 + 0.3 * np.cov(rows, rowvar=False).trace() / 6
        for i in range(n):
            others = np.delete(rows, i, axis=0)
            z = rows[i] - others.mean(0)
            covariance = 0.7 * np.cov(others, rowvar=False) + floor * np.eye(6)
            assert left_out[i, 0, position] == pytest.approx(np.sqrt(z @ np.linalg.inv(covariance) @ z), rel=1e-8)


def test_in_sample_distances_are_biased_and_leave_one_out_distances_are_not():
    x, fresh = sample(14, channels=12, seed=5), sample(200, channels=12, seed=6)
    gaussian = PositionGaussian()
    gaussian.update(x)
    left_out = gaussian.leave_one_out(x).mean()
    gaussian.finish()
    assert gaussian.mahalanobis(x).mean() < 0.5 * gaussian.mahalanobis(fresh).mean()
    assert 0.5 < left_out / gaussian.mahalanobis(fresh).mean() < 2


def test_projection_equals_learning_from_projected_samples():
    directions = torch.linalg.qr(torch.randn(6, 3, dtype=torch.float64)).Q
    for n in (4, 30):
        gaussian, projected = PositionGaussian(), PositionGaussian()
        gaussian.update(sample(n))
        gaussian.project(directions)
        projected.update(torch.einsum("nchw,cd->ndhw", sample(n), directions))
        torch.testing.assert_close(gaussian.covariance(), projected.covariance())


@pytest.mark.parametrize("n", [4, 30])
def test_pooled_moments_are_those_of_all_positions_together(n):
    x = sample(n)
    gaussian = PositionGaussian()
    gaussian.update(x)
    rows = x.permute(0, 2, 3, 1).reshape(-1, 6).numpy()
    np.testing.assert_allclose(gaussian.pooled_moments(), np.cov(rows, rowvar=False, bias=True), rtol=1e-9)


def test_with_keep_fitting_can_continue():
    x = sample(30)
    gaussian = PositionGaussian()
    gaussian.update(x[:20])
    gaussian.finish(keep=True)
    early = gaussian.mahalanobis(x)
    gaussian.update(x[20:])
    gaussian.finish()
    torch.testing.assert_close(gaussian.mahalanobis(x), fitted(x).mahalanobis(x))
    assert not torch.allclose(early, gaussian.mahalanobis(x))


def test_errors_say_what_to_do():
    gaussian = PositionGaussian()
    with pytest.raises(NotFittedError, match="update"):
        gaussian.finish()
    with pytest.raises(NotFittedError, match="finish"):
        gaussian.mahalanobis(sample(1))
    gaussian.update(sample(1))
    with pytest.raises(FitError, match="at least 2"):
        gaussian.finish()
    with pytest.raises(FitError, match="at least 3"):
        gaussian.leave_one_out(sample(1))
    with pytest.raises(FitError, match="as before"):
        gaussian.update(sample(1, channels=5))
    with pytest.raises(FitError, match="expected"):
        gaussian.update(torch.zeros(3, 4))
    gaussian.update(sample(3))
    gaussian.finish()
    with pytest.raises(NotFittedError, match="keep=True"):
        gaussian.update(sample(1))


def test_features_that_are_not_finite_are_rejected():
    x = sample(9)
    x[3, 1, 0, 0] = float("nan")
    gaussian = PositionGaussian()
    gaussian.update(x)
    with pytest.raises(FitError, match="NaN"):
        gaussian.finish()
