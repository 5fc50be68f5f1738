"""Weights of MNAD's published code by the recipe of the golden files."""

from __future__ import annotations

import csv

import numpy as np
import torch

from offnormal.detectors.mnad import MNAD
from tests.conftest import GOLDEN

_U32 = np.uint64(0xFFFFFFFF)


def hash_uniform(seed, k, n):
    """n numbers in [0, 1) from 32-bit integer arithmetic."""
    x = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(2654435761)
    x = (x + np.uint64((k + 1) * 2246822519 % 2**32) + np.uint64(seed * 3266489917 % 2**32)) & _U32
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        x ^= x >> np.uint64(shift)
        x = (x * np.uint64(factor)) & _U32
    x ^= x >> np.uint64(16)
    return x / 2**32


def reference_state(method, seed):
    """The state dict with the names of the published code, including its unused modules."""
    state = {}
    with (GOLDEN / f"mnad_{method}_params.csv").open(newline="") as file:
        for k, name, kind, text in csv.reader(file):
            shape = [int(side) for side in text.split("x")]
            size = int(np.prod(shape))
            v = 2 * hash_uniform(seed, int(k), size) - 1
            channels_of = {"conv_w": shape[0], "convT_w": shape[min(1, len(shape) - 1)]}  # output channels
            if kind in channels_of:
                value = v * np.sqrt(6 / (size / channels_of[kind]))
            else:
                value = {"bn_w": 1 + 0.2 * v, "bn_var": 1 + 0.5 * v}.get(kind, 0.1 * v)
            state[name] = torch.from_numpy(value.astype(np.float32).reshape(shape))
    return state


def from_recipe(method, seed, items, **further):
    """A detector with the recipe's weights and the given items."""
    detector = MNAD.create(method, **further)
    detector.load_reference_state_dict(reference_state(method, seed), torch.from_numpy(items))
    return detector.eval()


def clips_of(frames, method):
    """Frames (L, H, W, 3) uint8 of a golden file -> input of the detector, in the same channel order."""
    frames = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    if method == "recon":
        return frames
    return torch.stack([frames[i : i + 5].transpose(0, 1) for i in range(len(frames) - 4)])
