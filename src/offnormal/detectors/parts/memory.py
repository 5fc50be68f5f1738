"""Memories of normal patterns: pure functions on tensors.

MNAD (Park et al., CVPR 2020, arXiv 2003.13228) updates its memory by rule: `read_items`, `update_items` and two losses.
A query map (N, C, H, W) is normalized to unit length at every position. Memory items are rows of unit length: (M, C),
one memory for all queries, or (N, M, C), one for each. Similarity is the cosine, the temperature of softmaxes is 1.
Source: cvlab-yonsei/MNAD, model/memory_final_spatial_sumonly_weight_ranking_top1.py; everything is computed in float32
or, where it is given, float64, also under autocast.

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
_TINY = 1e-12  # MemAE's code: keeps a sum of weights and a logarithm finite


def read_items(query: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normalized queries beside what the memory makes of them (section 3.2.1, equations 1, 2 and 4).

    query: (N, C, H, W) raw; items: (M, C) or (N, M, C). Gives features (N, 2C, H, W), and for each of the N * H * W
    positions its attention to the items as a softmax over all queries of that memory, and as one over the items, both
    (N * H * W, M). No gradient flows through the attention (published code), so that only the first half learns.
    """
    rows, keys = _rows(query, items)
    similarity = _product(rows, keys.mT)
    attention = similarity.softmax(2)
    features = _beside(query, rows, _product(attention.detach(), keys))
    return features, similarity.softmax(1).flatten(0, 1), attention.flatten(0, 1)


def recall(query: Tensor, items: Tensor) -> Tensor:
    """The features (N, 2C, H, W) of `read_items` alone."""
    rows, keys = _rows(query, items)
    attention = _product(rows, keys.mT).softmax(2).detach()
    return _beside(query, rows, _product(attention, keys))


@torch.no_grad()
def update_items(query: Tensor, items: Tensor, compat: Compat = "code", *, everywhere: bool = False) -> Tensor:
    """Items moved toward the queries nearest to them, again of unit length (section 3.2.2, equations 3 and 5).

    query: (N, C, H, W) raw; items: (M, C) or (N, M, C), and so is the result. An item that is nearest to none stays.
    compat: a query's weight is its attention over the highest among all queries ("code"), or among those nearest to
    the item ("paper"). everywhere: the queries are those of all processes that train together, which then agree.
    """
    rows, keys = _rows(query, items)
    similarity = _product(rows, keys.mT)  # (S, K, M)
    nearest = F.one_hot(similarity.argmax(2), keys.shape[1]).bool()
    heard = similarity if compat == "code" else similarity.masked_fill(~nearest, -torch.inf)
    highest = heard.amax(1, keepdim=True)
    if everywhere:
        _over_ranks(highest, distributed.ReduceOp.MAX)
    weights = torch.where(nearest, (similarity - highest).exp(), 0)  # of a softmax over queries the ratio matters
    added = _product(weights.mT, rows)
    if everywhere:
        _over_ranks(added, distributed.ReduceOp.SUM)
    return F.normalize(keys + added, dim=2).view_as(items)


def compactness(query: Tensor, items: Tensor) -> Tensor:
    """Mean squared difference of queries (N, C, H, W) and their nearest items, over positions and channels, a scalar.

    Paper, equation 9: the sum of the distances themselves; this is the published code's.
    """
    rows, keys = _rows(query, items)
    return F.mse_loss(rows, _ranked(rows, keys, 1)[0])


def separateness(query: Tensor, items: Tensor, margin: float = 1.0) -> Tensor:
    """How far the second nearest item is from being `margin` farther than the nearest one, on average, a scalar.

    query: (N, C, H, W) raw. Paper, equation 10. Of two items at least.
    """
    rows, keys = _rows(query, items)
    nearest, second = _ranked(rows, keys, 2)
    return F.triplet_margin_loss(rows, nearest, second, margin=margin)


def feature_distance(query: Tensor, items: Tensor, compat: Compat = "code") -> Tensor:
    """How far the queries of each map (N, C, H, W) are from their nearest items, (N,); higher = more anomalous.

    compat: mean squared difference over positions and channels ("code"), or mean distance ("paper", equation 11).
    """
    rows, keys = _rows(query, items)
    squared = (rows - _ranked(rows, keys, 1)[0]).square().reshape(len(query), -1, query.shape[1])
    return squared.mean((1, 2)) if compat == "code" else squared.sum(2).sqrt().mean(1)


def nearest_items(query: Tensor, items: Tensor) -> Tensor:
    """Number (N, H, W) of the item that is nearest at each position of a query map (N, C, H, W)."""
    rows, keys = _rows(query, items)
    height, width = query.shape[2:]
    return _product(rows, keys.mT).argmax(2).view(len(query), height, width)


def address(query: Tensor, memory: Tensor, shrink: float, similarity: Similarity = "dot") -> tuple[Tensor, Tensor]:
    """What a memory recalls at every position of a query, and by which weights of its items.

    query (N, C, ...), memory (M, C) -> recalled (N, C, ...), attention (N, M, ...). The weights are a softmax of the
    similarities (paper, equations 4 and 5), those up to `shrink` are cut to nothing (equation 6), the others sum to 1.
    Where all are cut, weights and what is recalled are 0. similarity: "dot", as the published code has it, or "cosine",
    as the paper.

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

    >>> entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]])).item()  # of two positions, ln 2 and 0
    0.3465735912322998
    """
    return -(attention * torch.log(attention + _TINY)).sum(1).mean()


def _rows(query: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Unit queries (S, K, C) and items (S, M, C): S = 1 where all queries share one memory, else S = N."""
    wide = query.to(torch.promote_types(query.dtype, torch.float32))
    rows = F.normalize(wide, dim=1).flatten(2).mT  # (N, HW, C)
    keys = items.to(rows)
    return (rows.reshape(1, -1, rows.shape[2]), keys[None]) if items.ndim == 2 else (rows, keys)


def _ranked(rows: Tensor, keys: Tensor, count: int) -> list[Tensor]:
    """The nearest item of each row (S, K, C), and so on up to `count` of them."""
    order = _product(rows, keys.mT).topk(count, dim=2).indices
    return [keys.gather(1, place[..., None].expand(-1, -1, keys.shape[2])) for place in order.unbind(2)]


def _beside(query: Tensor, rows: Tensor, read: Tensor) -> Tensor:
    """Rows and what was read for them (S, K, C) -> (N, 2C, H, W)."""
    count, _, height, width = query.shape
    joined = torch.cat([rows, read], 2)
    return joined.view(count, height, width, -1).permute(0, 3, 1, 2)


def _product(a: Tensor, b: Tensor) -> Tensor:
    with torch.autocast(a.device.type, enabled=False):
        return a @ b


def _over_ranks(values: Tensor, how: distributed.ReduceOp.RedOpType) -> None:
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(values, how)
