"""Memories of normal patterns: pure functions on tensors.

MNAD (Park et al., CVPR 2020, arXiv 2003.13228) updates its memory by rule: `read_items`, `update_items`, and two
losses. A query map (N, C, H, W) is normalized to unit length at every position. Memory items are rows of unit length:
(M, C), one memory for all queries, or (N, M, C), one for each. Similarity is the cosine; softmax temperature is 1.
Source: cvlab-yonsei/MNAD, model/memory_final_spatial_sumonly_weight_ranking_top1.py. Everything is computed in float32,
or in float64 for such queries, also under autocast.

MemAE (Gong et al., ICCV 2019, arXiv 1904.02639) learns its memory by gradient: `address`, `entropy`. Source:
donggong1/memae-anomaly-detection, models/memory_module.py and entropy_loss.py.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, distributed

Compat = Literal["code", "paper"]
Similarity = Literal["dot", "cosine"]
_TINY = 1e-12  # MemAE's code: keeps divisions and logarithms finite


def read_items(query: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Concatenate normalized queries with the items that the memory recalls (section 3.2.1, equations 1, 2, and 4).

    query: (N, C, H, W), not normalized; items: (M, C) or (N, M, C). Returns features (N, 2C, H, W) and, for each of the
    N * H * W positions, its attention to the items as a softmax over all queries of that memory, and as a softmax over
    the items, both (N * H * W, M). No gradient flows through the attention (published code): only the first half
    learns.
    """
    rows, keys = _unit_rows(query, items)
    similarity = _matmul_full_precision(rows, keys.mT)
    attention = similarity.softmax(2)
    features = _concat_recalled(query, rows, _matmul_full_precision(attention.detach(), keys))
    return features, similarity.softmax(1).flatten(0, 1), attention.flatten(0, 1)


def recall(query: Tensor, items: Tensor) -> Tensor:
    """The features (N, 2C, H, W) of `read_items`, without the attention."""
    rows, keys = _unit_rows(query, items)
    attention = _matmul_full_precision(rows, keys.mT).softmax(2).detach()
    return _concat_recalled(query, rows, _matmul_full_precision(attention, keys))


@torch.no_grad()
def update_items(query: Tensor, items: Tensor, compat: Compat = "code", *, everywhere: bool = False) -> Tensor:
    """Move items toward the queries nearest to them, at unit length (section 3.2.2, equations 3 and 5).

    query: (N, C, H, W), not normalized; items and result: (M, C) or (N, M, C). An item that is nearest to no query
    stays. compat: a query's weight is its attention relative to the maximum over all queries ("code"), or over the
    queries nearest to the item ("paper"). everywhere: include the queries of all training processes, which then agree.
    """
    rows, keys = _unit_rows(query, items)
    similarity = _matmul_full_precision(rows, keys.mT)  # (S, K, M)
    nearest = F.one_hot(similarity.argmax(2), keys.shape[1]).bool()
    candidates = similarity if compat == "code" else similarity.masked_fill(~nearest, -torch.inf)
    highest = candidates.amax(1, keepdim=True)
    if everywhere:
        _reduce_over_ranks(highest, distributed.ReduceOp.MAX)
    weights = torch.where(nearest, (similarity - highest).exp(), 0)  # softmax over queries, relative to its maximum
    weighted_sum = _matmul_full_precision(weights.mT, rows)
    if everywhere:
        _reduce_over_ranks(weighted_sum, distributed.ReduceOp.SUM)
    return F.normalize(keys + weighted_sum, dim=2).view_as(items)


def compactness(query: Tensor, items: Tensor) -> Tensor:
    """Mean squared difference between queries (N, C, H, W) and their nearest items, a scalar.

    Published code: mean over positions and channels; paper, equation 9: sum of the distances.
    """
    rows, keys = _unit_rows(query, items)
    return F.mse_loss(rows, _nearest_keys(rows, keys, 1)[0])


def separateness(query: Tensor, items: Tensor, margin: float = 1.0) -> Tensor:
    """How much less than `margin` the second nearest item is farther away than the nearest, on average, a scalar.

    query: (N, C, H, W), not normalized. Paper, equation 10. Needs at least two items.
    """
    rows, keys = _unit_rows(query, items)
    nearest, second = _nearest_keys(rows, keys, 2)
    return F.triplet_margin_loss(rows, nearest, second, margin=margin)


def feature_distance(query: Tensor, items: Tensor, compat: Compat = "code") -> Tensor:
    """Distance (N,) between the queries of each map (N, C, H, W) and their nearest items; higher = more anomalous.

    compat: mean squared difference over positions and channels ("code"), or mean distance ("paper", equation 11).
    """
    rows, keys = _unit_rows(query, items)
    squared = (rows - _nearest_keys(rows, keys, 1)[0]).square().reshape(len(query), -1, query.shape[1])
    return squared.mean((1, 2)) if compat == "code" else squared.sum(2).sqrt().mean(1)


def nearest_items(query: Tensor, items: Tensor) -> Tensor:
    """Index (N, H, W) of the nearest item at each position of a query map (N, C, H, W)."""
    rows, keys = _unit_rows(query, items)
    height, width = query.shape[2:]
    return _matmul_full_precision(rows, keys.mT).argmax(2).view(len(query), height, width)


def address(query: Tensor, memory: Tensor, shrink: float, similarity: Similarity = "dot") -> tuple[Tensor, Tensor]:
    """Recall items from a memory at every position of a query, with their weights.

    query (N, C, ...), memory (M, C) -> recalled (N, C, ...), attention (N, M, ...). The weights are a softmax of the
    similarities (paper, equations 4 and 5); weights up to `shrink` are set to 0 (equation 6), the others sum to 1. If
    all are 0, the recalled features are 0, too. similarity: "dot" (published code) or "cosine" (paper).

    >>> recalled, attention = address(torch.tensor([[9.0, 0.0]]), torch.eye(2), shrink=0.1)
    >>> recalled.tolist(), attention.tolist()
    ([[1.0, 0.0]], [[1.0, 0.0]])
    """
    positions = query.flatten(2).transpose(1, 2) if query.ndim > 2 else query[:, None]  # (N, P, C)
    if similarity == "cosine":
        scores = F.normalize(positions, dim=2) @ F.normalize(memory, dim=1).T
    else:
        scores = positions @ memory.T
    weights = scores.softmax(2)  # (N, P, M)
    if shrink > 0:
        weights = F.threshold(weights, shrink, 0.0)
        weights = weights / weights.sum(2, keepdim=True).clamp(min=_TINY)
    recalled = (weights @ memory).transpose(1, 2).reshape(query.shape)
    return recalled, weights.transpose(1, 2).reshape(len(query), len(memory), *query.shape[2:])


def entropy(attention: Tensor) -> Tensor:
    """Mean entropy in nats of the weights (N, M, ...) at all positions (paper, equation 9), a scalar.

    >>> entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]])).item()  # mean of ln 2 and 0
    0.3465735912322998
    """
    return -(attention * torch.log(attention + _TINY)).sum(1).mean()


def _unit_rows(query: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Unit queries (S, K, C) and items (S, M, C): S = 1 if all queries share one memory, otherwise S = N."""
    wide = query.to(torch.promote_types(query.dtype, torch.float32))
    rows = F.normalize(wide, dim=1).flatten(2).mT  # (N, HW, C)
    keys = items.to(rows)
    return (rows.reshape(1, -1, rows.shape[2]), keys[None]) if items.ndim == 2 else (rows, keys)


def _nearest_keys(rows: Tensor, keys: Tensor, count: int) -> list[Tensor]:
    """The `count` nearest items of each row (S, K, C), nearest first."""
    order = _matmul_full_precision(rows, keys.mT).topk(count, dim=2).indices
    return [keys.gather(1, indices[..., None].expand(-1, -1, keys.shape[2])) for indices in order.unbind(2)]


def _concat_recalled(query: Tensor, rows: Tensor, recalled: Tensor) -> Tensor:
    """Rows and the items recalled for them (S, K, C) -> (N, 2C, H, W)."""
    count, _, height, width = query.shape
    joined = torch.cat([rows, recalled], 2)
    return joined.view(count, height, width, -1).permute(0, 3, 1, 2)


def _matmul_full_precision(a: Tensor, b: Tensor) -> Tensor:
    with torch.autocast(a.device.type, enabled=False):
        return a @ b


def _reduce_over_ranks(values: Tensor, operation: distributed.ReduceOp.RedOpType) -> None:
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(values, operation)
