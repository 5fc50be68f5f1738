"""Feature maps of several layers -> one embedding on one grid, position by position."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def concat_features(features: Sequence[Tensor]) -> Tensor:
    """Feature maps (N, C_i, H_i, W_i), finest first, -> (N, sum C_i, H_1, W_1) by nearest-neighbour upsampling.

    Equal to the reference's unfold / concatenate / fold where the sizes are whole multiples (section III-A).

    >>> concat_features([torch.zeros(1, 2, 8, 8), torch.ones(1, 3, 4, 4)]).shape
    torch.Size([1, 5, 8, 8])
    """
    maps = [torch.as_tensor(f) for f in features]
    return on_grid(maps, (maps[0].shape[2], maps[0].shape[3])).permute(0, 3, 1, 2)


def on_grid(features: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """Feature maps (N, C_i, H_i, W_i) -> (N, H, W, sum C_i): coarser ones repeated, finer ones averaged.

    Written once, position by position, which is how the Gaussians read it.
    """
    count, channels = len(features[0]), sum(f.shape[1] for f in features)
    embedding = features[0].new_empty(count, *grid, channels)
    start = 0
    for features_of_layer in features:
        layer = _nested(features_of_layer, grid)
        height, width = layer.shape[2:]
        part = embedding[..., start : start + layer.shape[1]]
        cells = part.view(count, height, grid[0] // height, width, grid[1] // width, layer.shape[1])
        cells.copy_(layer.permute(0, 2, 3, 1)[:, :, None, :, None])
        start += layer.shape[1]
    return embedding


def _nested(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """The map itself when the grid is a whole multiple of it, else averaged (finer) or repeated (coarser) onto it."""
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


def neighbours(x: Tensor, reach: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], Tensor]]:
    """For every offset up to `reach` cells: where models lie, where the features they see lie, and those features.

    x (N, D, H, W); the features are shifted so that each lies at the model's place; models whose neighbour would
    lie outside see what is there anyway, and are not in the first slices.
    """
    height, width = x.shape[2:]
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if abs(dy) >= height or abs(dx) >= width:
                continue
            models = (slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx)))
            seen = (slice(max(0, dy), height + min(0, dy)), slice(max(0, dx), width + min(0, dx)))
            yield models, seen, x if dy == dx == 0 else torch.roll(x, (-dy, -dx), (2, 3))


def nearest(x: Tensor, measure: Callable[[Tensor], Tensor], reach: int) -> Tensor:
    """Least distance (N, h, w) of features (N, D, h, w) by the models of the positions up to `reach` cells around.

    measure: features (N, D, h, w) -> their distances (N, h, w), each by the model of its own position.
    """
    if reach == 0:
        return measure(x)
    least = torch.full((len(x), *x.shape[2:]), math.inf, device=x.device)
    for models, seen, features in neighbours(x, reach):
        there, found = (slice(None), *seen), measure(features)[(slice(None), *models)]
        least[there] = torch.minimum(least[there], found)
    return least
