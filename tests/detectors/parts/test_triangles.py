import pytest
import torch

from offnormal.detectors.parts import triangles
from offnormal.detectors.parts.triangles import packed_size, squared_lengths, unpack, write_packed


def uppers(size, positions=5, dtype=torch.float64):
    return torch.randn(positions, size, size, generator=torch.Generator().manual_seed(size), dtype=dtype).triu()


def pack(upper):
    packed = upper.new_empty(len(upper) * packed_size(upper.shape[-1]))
    write_packed(packed, slice(None), upper)
    return packed


@pytest.mark.parametrize("size", [1, 5, 63, 64, 100, 177])
def test_packing_loses_nothing(size):
    upper = uppers(size)
    packed = pack(upper)
    assert packed.shape == (5 * packed_size(size),)
    assert torch.equal(unpack(packed, size), upper)


def test_large_triangles_are_stored_without_most_zeros():
    assert packed_size(176) <= 0.63 * 176**2


@pytest.mark.parametrize("size", [1, 63, 64, 100, 177])
@pytest.mark.parametrize("number", [1, 7])
def test_lengths_equal_a_naive_product(size, number):
    upper, x = uppers(size), torch.randn(5, number, size, dtype=torch.float64)
    naive = torch.stack([((x[p] @ upper[p]) ** 2).sum(-1) for p in range(5)])
    torch.testing.assert_close(squared_lengths(x, pack(upper)), naive)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_half_precision_is_accurate_with_and_without_bfloat16(dtype, rtol, has_bfloat16, monkeypatch):
    monkeypatch.setattr(triangles, "_multiplies_bfloat16", lambda _device: has_bfloat16)
    monkeypatch.setattr(triangles, "_CACHED_BYTES", 1)  # one position at a time
    upper, x = uppers(100, dtype=torch.float32), torch.randn(5, 3, 100)
    exact = squared_lengths(x, pack(upper))
    lengths = squared_lengths(x, pack(upper).to(dtype))
    assert lengths.dtype == torch.float32
    torch.testing.assert_close(lengths, exact, rtol=rtol, atol=0)
