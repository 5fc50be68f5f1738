"""Feature maps of several layers -> one embedding on one grid, and distance maps -> anomaly maps.

Upsampling and blur are linear and separable, so that together they are one small matrix per axis, applied from the left
and the right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from offnormal.types import Pool

Border = Literal["reflect_scipy", "reflect_torch"]
_MIN_WEIGHT = 1e-6  # minimum weight of the pixels that are not ignored
_TRUNCATE = 4.0  # radius in sigmas: default of scipy.ndimage.gaussian_filter


def _mirror(index: Tensor, size: int, border: Border) -> Tensor:
    """Fold indices outside 0..size-1 back, with the edge pixel repeated (scipy) or not (torch)."""
    if size == 1:
        return torch.zeros_like(index)
    if border == "reflect_scipy":
        index = index.remainder(2 * size)
        return torch.minimum(index, 2 * size - 1 - index)
    index = index.remainder(2 * size - 2)
    return torch.minimum(index, 2 * size - 2 - index)


@lru_cache(maxsize=64)
def _blur_matrix(size: int, sigma: float, border: Border) -> Tensor:
    """(size, size) float64: Gaussian blur of a row of `size` pixels; sigma in pixels, 0 for none."""
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
def _bilinear_matrix(source: int, target: int) -> Tensor:
    """(target, source) float64: bilinear resampling of a row, as torch does with align_corners=False."""
    centers = ((torch.arange(target).double() + 0.5) * source / target - 0.5).clamp(0, source - 1)
    low = centers.floor().long()
    high = (low + 1).clamp(max=source - 1)
    share = centers - low
    matrix = torch.zeros(target, source, dtype=torch.float64)
    rows = torch.arange(target)
    matrix.index_put_((rows, low), 1 - share, accumulate=True)
    matrix.index_put_((rows, high), share, accumulate=True)
    return matrix


def _apply_separable(maps: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
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
    return _apply_separable(maps, _blur_matrix(height, sigma, border), _blur_matrix(width, sigma, border))


def smooth_within(maps: Tensor, ignored: Tensor | None, sigma: float, border: Border = "reflect_scipy") -> Tensor:
    """`smooth` of maps (N, H, W) without ignored pixels (H, W), True = ignored; they are 0 in the result."""
    if ignored is None:
        return smooth(maps, sigma, border)
    valid = (~ignored).to(maps)
    return smooth(maps * valid, sigma, border) / smooth(valid[None], sigma, border).clamp(min=_MIN_WEIGHT) * valid


def enlarge_and_smooth(maps: Tensor, size: tuple[int, int], sigma: float, border: Border) -> Tensor:
    """Bilinear upsampling of maps (N, h, w) to `size`, then `smooth`, as two small matrix products."""
    (height, width), (h, w) = size, maps.shape[-2:]
    vertical = _blur_matrix(height, sigma, border) @ _bilinear_matrix(h, height)
    horizontal = _blur_matrix(width, sigma, border) @ _bilinear_matrix(w, width)
    return _apply_separable(maps, vertical, horizontal)


def pool(maps: Tensor, method: Pool, share: float) -> Tensor:
    """Scores (N,) of maps (N, H, W): maximum, mean, or (top) mean of the highest `share` of all pixels."""
    flat = maps.flatten(1)
    if method == "max":
        return flat.amax(1)
    if method == "mean":
        return flat.mean(1)
    return flat.topk(max(1, round(share * flat.shape[1])), dim=1).values.mean(1)


def concat_features(features: Sequence[Tensor]) -> Tensor:
    """Feature maps (N, C_i, H_i, W_i), finest first, -> (N, sum C_i, H_1, W_1) by nearest-neighbor upsampling.

    Equal to the reference's unfold / concatenate / fold where the sizes are whole multiples (section III-A).

    >>> concat_features([torch.zeros(1, 2, 8, 8), torch.ones(1, 3, 4, 4)]).shape
    torch.Size([1, 5, 8, 8])
    """
    maps = [torch.as_tensor(f) for f in features]
    return concat_on_grid(maps, (maps[0].shape[2], maps[0].shape[3])).permute(0, 3, 1, 2)


def concat_on_grid(features: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """Feature maps (N, C_i, H_i, W_i) -> (N, H, W, sum C_i): coarser maps are repeated, finer ones averaged.

    The result is written once, channels last, as the Gaussians read it.
    """
    count, channels = len(features[0]), sum(features_of_layer.shape[1] for features_of_layer in features)
    embedding = features[0].new_empty(count, *grid, channels)
    start = 0
    for features_of_layer in features:
        layer = _fit_to_grid(features_of_layer, grid)
        height, width = layer.shape[2:]
        target = embedding[..., start : start + layer.shape[1]]
        cells = target.view(count, height, grid[0] // height, width, grid[1] // width, layer.shape[1])
        cells.copy_(layer.permute(0, 2, 3, 1)[:, :, None, :, None])
        start += layer.shape[1]
    return embedding


def _fit_to_grid(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the map if the grid is a multiple of its size; otherwise average or repeat it onto the grid."""
    if features.shape[2] > grid[0]:
        return F.adaptive_avg_pool2d(features, grid)
    if grid[0] % features.shape[2] or grid[1] % features.shape[3]:
        return F.interpolate(features, size=grid, mode="nearest")
    return features


def select_channels(maps: Sequence[Tensor], chosen: Tensor) -> list[Tensor]:
    """The chosen channels (d,), numbered through all maps (N, C_i, H_i, W_i) and sorted, before any upsampling."""
    selected, start = [], 0
    for features in maps:
        inside = chosen[(chosen >= start) & (chosen < start + features.shape[1])] - start
        selected.append(features.permute(0, 2, 3, 1)[..., inside].permute(0, 3, 1, 2))
        start += features.shape[1]
    return selected


def shifted_neighbors(x: Tensor, reach: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], Tensor]]:
    """For every offset up to `reach` cells: slices of the models, slices of the features they see, and the features.

    x: (N, D, H, W). The features are shifted to the position of their model. Models with no neighbor at an offset see
    features wrapped around, and are excluded from the slices.
    """
    height, width = x.shape[2:]
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if abs(dy) >= height or abs(dx) >= width:
                continue
            models = (slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx)))
            features = (slice(max(0, dy), height + min(0, dy)), slice(max(0, dx), width + min(0, dx)))
            yield models, features, x if dy == dx == 0 else torch.roll(x, (-dy, -dx), (2, 3))


def min_distance(x: Tensor, measure: Callable[[Tensor], Tensor], reach: int) -> Tensor:
    """Smallest distance (N, h, w) of features (N, D, h, w) to the models at positions up to `reach` cells away.

    measure: features (N, D, h, w) -> distances (N, h, w), each by the model of its position.
    """
    if reach == 0:
        return measure(x)
    smallest = torch.full((len(x), *x.shape[2:]), math.inf, device=x.device)
    for models, feature_slices, features in shifted_neighbors(x, reach):
        targets, distances = (slice(None), *feature_slices), measure(features)[(slice(None), *models)]
        smallest[targets] = torch.minimum(smallest[targets], distances)
    return smallest


def samples_first(x: Tensor) -> Tensor:
    """(N, D, H, W) -> (N, H * W, D); without copying if x is stored channels last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
