"""Weights of the memory models' golden files: a hash of position, entry and seed, in whole numbers only."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch

_M = (1 << 32) - 1


def uniform(seed: int, k: int, count: int) -> np.ndarray:
    """`count` numbers in [0, 1) for the entry k."""
    i = np.arange(1, count + 1, dtype=np.uint64)
    x = i * np.uint64(2654435761) + np.uint64((k + 1) * 2246822519 & _M) + np.uint64(seed * 3266489917 & _M)
    x &= np.uint64(_M)
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        x ^= x >> np.uint64(shift)
        x = x * np.uint64(factor) & np.uint64(_M)
    x ^= x >> np.uint64(16)
    return x.astype(np.float64) / (1 << 32)


def state_dict(table: Path, seed: int, *, transposed: float = 1.0, memory: float = 1.0) -> dict[str, torch.Tensor]:
    """The state dict that a table of entries (number, name, kind, shape) stands for, without counters."""
    state = {}
    with table.open(encoding="utf-8", newline="") as file:
        for k, name, kind, sizes in csv.reader(file):
            shape = tuple(map(int, sizes.split("x")))
            count = int(np.prod(shape))
            v = 2 * uniform(seed, int(k), count) - 1
            if kind == "conv_w":
                v = v * np.sqrt(6 / (count / shape[0]))
            elif kind == "convT_w":
                v = v * np.sqrt(6 / (count / shape[1])) * transposed
            elif kind == "bn_w":
                v = 1 + 0.2 * v
            elif kind == "bn_var":
                v = 1 + 0.5 * v
            elif kind == "mem":
                v = v / np.sqrt(shape[1]) * memory
            else:
                v = 0.1 * v
            state[name] = torch.from_numpy(v.astype(np.float32).reshape(shape))
    return state
