"""Residual clip networks, with the structure and names of published checkpoints of pytorchvideo.

SlowOnly (Feichtenhofer et al., SlowFast Networks, ICCV 2019, table 1), ir-CSN (Tran et al., Channel-Separated
Convolutional Networks, ICCV 2019, section 3) and 3-D ResNets (Hara et al., ICCVW 2017) differ in kernels and strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import max_pool3d, pad, relu

STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """Architecture of a residual clip network."""

    depths: tuple[int, int, int, int] = (3, 4, 6, 3)  # blocks per stage
    bottleneck: bool = True  # three convolutions per block, otherwise two
    depthwise: bool = False  # the middle convolution is depthwise, 3x3x3
    width: int = 64  # channels of the stem
    stem_kernel: int = 1  # kernel of the stem in frames
    stem_stride: int = 1  # stride of the stem in frames
    kernels: tuple[int, int, int, int] = (1, 1, 3, 3)  # kernel of each stage in frames
    strides: tuple[int, int, int, int] = (1, 1, 1, 1)  # of convolutions in time
    mix: tuple[bool, bool, bool, bool] = (False,) * 4  # halve time before the stage with `halve_time`

    @property
    def widths(self) -> list[int]:
        """Channels of each stage."""
        return [self.width * 2**k * (4 if self.bottleneck else 1) for k in range(4)]

    @property
    def time_strides(self) -> list[int]:
        """Input frames per step in time, after the stem and after each stage."""
        steps = [self.stem_stride]
        for stride, mix in zip(self.strides, self.mix, strict=True):
            steps.append(steps[-1] * stride * (2 if mix else 1))
        return steps


def halve_time(x: Tensor) -> Tensor:
    """Select every second frame of (N, C, T, H, W), mixed 1 : 2 : 1 with its neighbors, so all have equal weight.

    T becomes ceil(T / 2), as in a convolution of stride 2. Source: the blur of Zhang, Making Convolutional Networks
    Shift-Invariant Again, ICML 2019.
    """
    x = pad(x, (0, 0, 0, 0, 1, 1), mode="replicate")
    return (x[:, :, :-2:2] + 2 * x[:, :, 1:-1:2] + x[:, :, 2::2]) / 4


def convolution(before: int, after: int, kernel: Sequence[int], stride: Sequence[int], groups: int = 1) -> nn.Conv3d:
    """Create a convolution with same padding and without bias, because a batch normalization follows."""
    k, s = (kernel[0], kernel[1], kernel[2]), (stride[0], stride[1], stride[2])
    layer = nn.Conv3d(before, after, k, s, (k[0] // 2, k[1] // 2, k[2] // 2), groups=groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class Stem(nn.Module):
    """The first convolution; its output is pooled before the first stage."""

    def __init__(self, in_channels: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = convolution(in_channels, width, (kernel, 7, 7), (stride, 2, 2))
        self.norm = nn.BatchNorm3d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, width, T, H / 2, W / 2)."""
        return relu(self.norm(self.conv(x)))


def pool(x: Tensor) -> Tensor:
    """3x3 max pooling with stride 2 per frame, between stem and first stage."""
    return max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))


class _Branch(nn.Module):
    """Convolutions of a block: a, b, and c (bottleneck only), each with a normalization."""

    def __init__(self, before: int, after: int, kernel: int, stride: tuple[int, int, int], kind: Residual) -> None:
        super().__init__()
        if not kind.bottleneck:
            self.conv_a = convolution(before, after, (kernel, 3, 3), stride)
            self.norm_a = nn.BatchNorm3d(after)
            self.conv_b = convolution(after, after, (kernel, 3, 3), (1, 1, 1))
            self.norm_b = nn.BatchNorm3d(after)
            return
        inner = after // 4
        self.conv_a = convolution(before, inner, (1 if kind.depthwise else kernel, 1, 1), (1, 1, 1))
        self.norm_a = nn.BatchNorm3d(inner)
        kernel_b = kernel if kind.depthwise else 1
        self.conv_b = convolution(inner, inner, (kernel_b, 3, 3), stride, groups=inner if kind.depthwise else 1)
        self.norm_b = nn.BatchNorm3d(inner)
        self.conv_c = convolution(inner, after, (1, 1, 1), (1, 1, 1))
        self.norm_c = nn.BatchNorm3d(after)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> the residual (N, C', T', H', W')."""
        x = self.norm_b(self.conv_b(relu(self.norm_a(self.conv_a(x)))))
        return self.norm_c(self.conv_c(relu(x))) if hasattr(self, "conv_c") else x


class Block(nn.Module):
    """Sum of a shortcut and a branch."""

    def __init__(self, before: int, after: int, kernel: int, stride: tuple[int, int, int], kind: Residual) -> None:
        super().__init__()
        self.has_projection = before != after or stride != (1, 1, 1)
        if self.has_projection:
            self.branch1_conv = convolution(before, after, (1, 1, 1), stride)
            self.branch1_norm = nn.BatchNorm3d(after)
        self.branch2 = _Branch(before, after, kernel, stride, kind)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, C', T', H', W')."""
        shortcut = self.branch1_norm(self.branch1_conv(x)) if self.has_projection else x
        return relu(shortcut + self.branch2(x))


class BlockStage(nn.Module):
    """Blocks of one size; the first one changes size and channels."""

    def __init__(self, before: int, number: int, kind: Residual) -> None:
        super().__init__()
        after, kernel = kind.widths[number], kind.kernels[number]
        side = 1 if number == 0 else 2
        first = Block(before, after, kernel, (kind.strides[number], side, side), kind)
        others = [Block(after, after, kernel, (1, 1, 1), kind) for _ in range(kind.depths[number] - 1)]
        self.res_blocks = nn.ModuleList([first, *others])
        self.mix = kind.mix[number]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, C', T', H', W')."""
        x = halve_time(x) if self.mix else x
        for block in self.res_blocks:
            x = block(x)
        return x


class ResidualNetwork(nn.Module):
    """A stem and four stages, with their outputs by name."""

    def __init__(self, kind: Residual, in_channels: int) -> None:
        super().__init__()
        before = [kind.width, *kind.widths[:3]]
        stem = Stem(in_channels, kind.width, kind.stem_kernel, kind.stem_stride)
        self.blocks = nn.ModuleList([stem, *(BlockStage(before[k], k, kind) for k in range(4))])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Normalized clips (N, C, T, H, W) -> stage -> features."""
        features: dict[str, Tensor] = {}
        for name, block in zip(STAGES, self.blocks, strict=True):
            x = block(pool(x) if name == "layer1" else x)
            features[name] = x
        return features


def mean_of_windows(x: Tensor, side: int = 7) -> Tensor:
    """Mean (N, C) over all windows of `side` x `side` positions and all of time, as in the heads of these networks.

    For maps larger than a window, it differs from the plain mean, because border positions are in fewer windows.

    >>> mean_of_windows(torch.arange(3.0).view(1, 1, 1, 1, 3), side=2).item()
    1.0
    """
    window = (x.shape[2], min(side, x.shape[3]), min(side, x.shape[4]))
    return nn.functional.avg_pool3d(x, window, stride=1).mean((2, 3, 4))
