"""Networks of clips as they compute fastest when nothing is learned any more."""

from __future__ import annotations

import copy

import torch
from torch import nn

from offnormal.backbones.folding import find_pairs, fold
from offnormal.backbones.images import TimmBackbone
from offnormal.backbones.video.base import Size, VideoBackbone


def for_inference(backbone: VideoBackbone, size: Size) -> VideoBackbone:
    """A copy of a network that gives the same of clips (T, H, W), and of others, in less time, and cannot learn.

    Batch normalization is folded into the convolutions before it, and weights lie in channels-last order where that is
    faster. Networks of pictures inside are left as they are: they fold by themselves. Its state is not one that the
    network itself could load. Raises ConfigError for clips that the network cannot take.
    """
    made = copy.deepcopy(backbone)
    made.freeze()
    made.dry_embedding(size)  # which says what is wrong with a size
    pictures = tuple(f"{name}." for name, part in made.named_modules() if isinstance(part, TimmBackbone))
    pairs = find_pairs(made, size, made.in_channels, made.embed)
    fold(made, [pair for pair in pairs if not pair[0].startswith(pictures)])
    for parameter in made.parameters():
        if parameter.ndim == 5 and made.faster_channels_last:  # those of pictures have an order of their own
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    made.freeze()  # what was folded, too
    return made


def scoring_form(backbone: VideoBackbone, size: Size) -> VideoBackbone:
    """`for_inference`, or the network itself where nothing is to be gained: without 3-D batch normalization."""
    if not any(isinstance(part, nn.BatchNorm3d) for part in backbone.modules()):
        return backbone
    return for_inference(backbone, size)
