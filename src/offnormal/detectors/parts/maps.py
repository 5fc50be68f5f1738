"""Distance maps -> anomaly maps: bilinear upsampling and Gaussian blur, each a matrix per axis.

Both are linear and separable, so together they are one small matrix per axis applied from the left and the right.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from offnormal.types import Pool

Border = Literal["reflect_scipy", "reflect_torch"]
_LITTLE = 1e-6  # of a blurred pixel's weight that is not ignored
_TRUNCATE = 4.0  # radius in sigmas: scipy.ndimage.gaussian_filter's default


def _mirror(index: Tensor, size: int, border: Border) -> Tensor:
    """Indices outside 0..size-1 folded back, the edge pixel repeated (scipy) or not (torch)."""
    if size == 1:
        return torch.zeros_like(index)
    if border == "reflect_scipy":
        index = index.remainder(2 * size)
        return torch.minimum(index, 2 * size - 1 - index)
    index = index.remainder(2 * size - 2)
    return torch.minimum(index, 2 * size - 2 - index)


@lru_cache(maxsize=64)
def _blur_matrix(size: int, sigma: float, border: Border) -> Tensor:
    """(size, size) float64: a Gaussian blur of a row of `size` pixels; sigma in pixels, 0 for none."""
    if sigma == 0:
        return torch.eye(size, dtype=torch.float64)
    radius = int(_TRUNCATE * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    weights = weights / weights.sum()
    rows = torch.arange(size)
    columns = _mirror(rows[:, None] + offsets[None, :], size, border)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.index_put_((rows[:, None].expand_as(columns), columns), weights.expand_as(columns), accumulate=True)


@lru_cache(maxsize=64)
def bilinear_matrix(source: int, target: int) -> Tensor:
    """(target, source) float64: bilinear resampling of a row as torch does it with align_corners=False."""
    centres = ((torch.arange(target).double() + 0.5) * source / target - 0.5).clamp(0, source - 1)
    low = centres.floor().long()
    high = (low + 1).clamp(max=source - 1)
    share = centres - low
    matrix = torch.zeros(target, source, dtype=torch.float64)
    rows = torch.arange(target)
    matrix.index_put_((rows, low), 1 - share, accumulate=True)
    matrix.index_put_((rows, high), share, accumulate=True)
    return matrix


def _apply(maps: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    return vertical.to(maps) @ maps @ horizontal.to(maps).T


def smooth(maps: Tensor, sigma: float = 4.0, border: Border = "reflect_scipy") -> Tensor:
    """Gaussian blur of maps (N, H, W); sigma in pixels, cut at 4 sigma.

    border: "reflect_scipy" repeats the edge pixel (scipy's mode "reflect", the reference), "reflect_torch" does
    not (torch's padding "reflect", anomalib).

    >>> smooth(torch.ones(1, 8, 8)).allclose(torch.ones(1, 8, 8))
    True
    """
    maps = torch.as_tensor(maps)
    height, width = maps.shape[-2:]
    return _apply(maps, _blur_matrix(height, sigma, border), _blur_matrix(width, sigma, border))


def smooth_within(maps: Tensor, ignored: Tensor | None, sigma: float, border: Border = "reflect_scipy") -> Tensor:
    """`smooth` of maps (N, H, W) in which ignored pixels (H, W), True = ignored, neither count nor show: they are 0."""
    if ignored is None:
        return smooth(maps, sigma, border)
    kept = (~ignored).to(maps)
    return smooth(maps * kept, sigma, border) / smooth(kept[None], sigma, border).clamp(min=_LITTLE) * kept


def enlarge_and_smooth(maps: Tensor, size: tuple[int, int], sigma: float, border: Border) -> Tensor:
    """Bilinear upsampling of maps (N, h, w) to `size`, then `smooth`, as two small products."""
    (height, width), (h, w) = size, maps.shape[-2:]
    vertical = _blur_matrix(height, sigma, border) @ bilinear_matrix(h, height)
    horizontal = _blur_matrix(width, sigma, border) @ bilinear_matrix(w, width)
    return _apply(maps, vertical, horizontal)


def pool(maps: Tensor, how: Pool, share: float) -> Tensor:
    """Scores (N,) of maps (N, H, W): highest value, mean, or (top) mean of the highest `share` of all pixels."""
    flat = maps.flatten(1)
    if how == "max":
        return flat.amax(1)
    if how == "mean":
        return flat.mean(1)
    return flat.topk(max(1, round(share * flat.shape[1])), dim=1).values.mean(1)
