"""Cost of a clip network: parameters, multiply-adds, and seconds per clip."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from offnormal.backbones.video.base import Size, VideoBackbone

_CALLS = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost for one clip."""

    parameters: int  # without the published classifier
    macs: int  # multiply-adds of convolutions, linear layers, and attention


def count(backbone: VideoBackbone, size: Size) -> Cost:
    """Count parameters, and multiply-adds of the embedding of a clip of (T, H, W), by a dry run."""
    parameters = sum(parameter.numel() for parameter in backbone.trunk.parameters())
    return Cost(parameters, multiply_adds(lambda: backbone.dry_embedding(size)))


def multiply_adds(call: Callable[[], object]) -> int:
    """Count multiply-adds of convolutions, linear layers, and attention in a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops()) // 2


@torch.inference_mode()
def seconds_per_clip(backbone: VideoBackbone, size: Size) -> float:
    """Measure seconds for the embedding of one clip of noise: the shortest of three calls after a warm-up."""
    backbone.eval()
    clip = torch.rand(1, backbone.in_channels, *size, device=backbone.mean.device)
    durations = []
    for _ in range(_CALLS + 1):
        start = time.perf_counter()
        backbone.embed(clip).sum().item()  # waits for a GPU
        durations.append(time.perf_counter() - start)
    return min(durations[1:])
