"""Addressing a memory of normal patterns: pure functions on tensors.

Sources: MemAE (Gong et al., ICCV 2019, arXiv 1904.02639), section 3.3, and its published code
(donggong1/memae-anomaly-detection), models/memory_module.py and entropy_loss.py.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Similarity = Literal["dot", "cosine"]
_TINY = 1e-12  # published code: keeps a sum of weights and a logarithm finite


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
