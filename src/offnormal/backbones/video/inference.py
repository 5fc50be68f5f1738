"""Fast copies of clip networks for scoring."""

from __future__ import annotations

import copy

import torch
from torch import nn

from offnormal.backbones.folding import find_pairs, fold
from offnormal.backbones.images import TimmBackbone
from offnormal.backbones.video.base import Size, VideoBackbone


def optimize_for_inference(backbone: VideoBackbone, size: Size) -> VideoBackbone:
    """Create a faster, frozen copy of a network with equal output for clips of (T, H, W) and of other sizes.

    Batch normalization is folded into convolutions, and weights are in channels-last order where that is faster. Image
    networks inside do not change, because they fold themselves. The original network cannot load the state of the copy.
    Raises ConfigError for a wrong clip size.
    """
    copied = copy.deepcopy(backbone)
    copied.freeze()
    copied.dry_embedding(size)  # raises the error for a wrong size
    image_networks = tuple(f"{name}." for name, part in copied.named_modules() if isinstance(part, TimmBackbone))
    pairs = find_pairs(copied, size, copied.in_channels, copied.embed)
    fold(copied, [pair for pair in pairs if not pair[0].startswith(image_networks)])
    for parameter in copied.parameters():
        if parameter.ndim == 5 and copied.faster_channels_last:  # image networks have 4 dimensions
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    copied.freeze()  # including folded layers
    return copied


def scoring_form(backbone: VideoBackbone, size: Size) -> VideoBackbone:
    """`optimize_for_inference`, or the network itself without 3-D batch normalization, where it has no effect."""
    if not any(isinstance(part, nn.BatchNorm3d) for part in backbone.modules()):
        return backbone
    return optimize_for_inference(backbone, size)
