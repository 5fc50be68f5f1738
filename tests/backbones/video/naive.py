"""Naive residual blocks for clips as references, and networks with nontrivial statistics."""

import torch
import torch.nn.functional as F
from torch import nn


def norm(state, name, x, eps=1e-5):
    shape = (1, -1, 1, 1, 1)
    mean, variance, weight, bias = (
        state[f"{name}.{part}"].view(shape) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + eps) * weight + bias


def stem(state, prefix, x, frames):
    x = F.conv3d(x, state[f"{prefix}.conv.weight"], stride=(1, 2, 2), padding=(frames // 2, 3, 3))
    return norm(state, f"{prefix}.norm", x).clamp(min=0)


def block(state, prefix, x, frames, stride, *, bottleneck, depthwise=False):
    def conv(name, x, stride=(1, 1, 1), padding=(0, 0, 0), groups=1):
        return F.conv3d(x, state[f"{prefix}.{name}.weight"], stride=stride, padding=padding, groups=groups)

    padding = frames // 2
    if not bottleneck:
        y = norm(state, f"{prefix}.branch2.norm_a", conv("branch2.conv_a", x, stride, (padding, 1, 1))).clamp(min=0)
        y = norm(state, f"{prefix}.branch2.norm_b", conv("branch2.conv_b", y, (1, 1, 1), (padding, 1, 1)))
    else:
        y = conv("branch2.conv_a", x, padding=(0 if depthwise else padding, 0, 0))
        y = norm(state, f"{prefix}.branch2.norm_a", y).clamp(min=0)
        groups = y.shape[1] if depthwise else 1
        y = conv("branch2.conv_b", y, stride, (padding if depthwise else 0, 1, 1), groups)
        y = norm(state, f"{prefix}.branch2.norm_b", y).clamp(min=0)
        y = norm(state, f"{prefix}.branch2.norm_c", conv("branch2.conv_c", y))
    if f"{prefix}.branch1_conv.weight" in state:
        x = norm(state, f"{prefix}.branch1_norm", conv("branch1_conv", x, stride))
    return (x + y).clamp(min=0)


def with_statistics(network):
    """Batch normalization as after training, with different statistics and weights in every channel."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.7, 1.5, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.2, generator=generator)
            nn.init.normal_(module.bias, 0, 0.2, generator=generator)
    return network
