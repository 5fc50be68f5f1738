import pytest
import torch

from offnormal.detectors.parts.inverse_root import _invert_lower, oracle_shrinkage


@pytest.mark.parametrize("size", [1, 64, 65, 177])
def test_lower_triangles_are_inverted_by_halves(size):
    lower = torch.randn(3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size)).tril(-1)
    lower = lower / size + torch.eye(size, dtype=torch.float64) * 2
    inverse = _invert_lower(lower)
    torch.testing.assert_close(inverse, torch.linalg.inv(lower))
    assert torch.equal(inverse, inverse.tril())


def test_oracle_shrinkage_is_1_for_identities_and_small_with_many_samples():
    flat = torch.full((4,), 10.0)
    assert oracle_shrinkage(flat, flat, count=30, channels=10) == 1  # every covariance is the identity
    uneven = torch.full((4,), 1000.0)
    few, many = (oracle_shrinkage(flat, uneven, count=n, channels=10) for n in (5, 5000))
    assert 0 < many < 0.001 < few < 1
