"""Residual networks of clips, in the parts and under the names of pytorchvideo's published checkpoints.

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
    """What tells one residual network of clips from another."""

    depths: tuple[int, int, int, int] = (3, 4, 6, 3)  # blocks a stage
    bottleneck: bool = True  # three convolutions a block, else two
    depthwise: bool = False  # the middle convolution sees its own channel only, 3 x 3 x 3
    width: int = 64  # channels of the stem
    stem_kernel: int = 1  # frames that the stem sees at once
    stem_stride: int = 1  # frames from one output of the stem to the next
    kernels: tuple[int, int, int, int] = (1, 1, 3, 3)  # frames that a block of each stage sees at once
    strides: tuple[int, int, int, int] = (1, 1, 1, 1)  # in time, by convolutions
    mix: tuple[bool, bool, bool, bool] = (False,) * 4  # halve time at the stage's entry, by `halve_time`

    @property
    def widths(self) -> list[int]:
        """Channels of each stage."""
        return [self.width * 2**k * (4 if self.bottleneck else 1) for k in range(4)]

    @property
    def time_strides(self) -> list[int]:
        """Input frames per step in time, after the stem and after each stage."""
        found = [self.stem_stride]
        for stride, mix in zip(self.strides, self.mix, strict=True):
            found.append(found[-1] * stride * (2 if mix else 1))
        return found


def halve_time(x: Tensor) -> Tensor:
    """Every second frame of (N, C, T, H, W), each mixed with its neighbors as 1 : 2 : 1, so that all count alike.

    T becomes ceil(T / 2), as by a convolution of stride 2. Source: the blur of Zhang, Making Convolutional Networks
    Shift-Invariant Again, ICML 2019.
    """
    x = pad(x, (0, 0, 0, 0, 1, 1), mode="replicate")
    return (x[:, :, :-2:2] + 2 * x[:, :, 1:-1:2] + x[:, :, 2::2]) / 4


def convolution(before: int, after: int, kernel: Sequence[int], stride: Sequence[int], groups: int = 1) -> nn.Conv3d:
    """A convolution that pads so that stride 1 keeps the size; a batch normalization follows, hence no bias."""
    k, s = (kernel[0], kernel[1], kernel[2]), (stride[0], stride[1], stride[2])
    made = nn.Conv3d(before, after, k, s, (k[0] // 2, k[1] // 2, k[2] // 2), groups=groups, bias=False)
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made


class Stem(nn.Module):
    """The first convolution; what it gives is pooled before the first stage."""

    def __init__(self, in_channels: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = convolution(in_channels, width, (kernel, 7, 7), (stride, 2, 2))
        self.norm = nn.BatchNorm3d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, width, T, H / 2, W / 2)."""
        return relu(self.norm(self.conv(x)))


def pool(x: Tensor) -> Tensor:
    """The maximum of 3 x 3 positions at stride 2, frame by frame, between stem and first stage."""
    return max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))


class _Branch(nn.Module):
    """The convolutions of a block: a, b and, of a bottleneck, c, each with its normalization."""

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
        seen = kernel if kind.depthwise else 1
        self.conv_b = convolution(inner, inner, (seen, 3, 3), stride, groups=inner if kind.depthwise else 1)
        self.norm_b = nn.BatchNorm3d(inner)
        self.conv_c = convolution(inner, after, (1, 1, 1), (1, 1, 1))
        self.norm_c = nn.BatchNorm3d(after)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> what is added to the shortcut."""
        x = self.norm_b(self.conv_b(relu(self.norm_a(self.conv_a(x)))))
        return self.norm_c(self.conv_c(relu(x))) if hasattr(self, "conv_c") else x


class Block(nn.Module):
    """A shortcut and a branch, added."""

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
    """The blocks of one size; the first one changes size and channels."""

    def __init__(self, before: int, number: int, kind: Residual) -> None:
        super().__init__()
        after, kernel = kind.widths[number], kind.kernels[number]
        side = 1 if number == 0 else 2
        first = Block(before, after, kernel, (kind.strides[number], side, side), kind)
        rest = [Block(after, after, kernel, (1, 1, 1), kind) for _ in range(kind.depths[number] - 1)]
        self.res_blocks = nn.ModuleList([first, *rest])
        self.mix = kind.mix[number]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, C', T', H', W')."""
        x = halve_time(x) if self.mix else x
        for block in self.res_blocks:
            x = block(x)
        return x


class ResidualNetwork(nn.Module):
    """A stem and four stages; the tensors behind each of them by name."""

    def __init__(self, kind: Residual, in_channels: int) -> None:
        super().__init__()
        before = [kind.width, *kind.widths[:3]]
        stem = Stem(in_channels, kind.width, kind.stem_kernel, kind.stem_stride)
        self.blocks = nn.ModuleList([stem, *(BlockStage(before[k], k, kind) for k in range(4))])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Normalized clips (N, C, T, H, W) -> stage -> features."""
        found: dict[str, Tensor] = {}
        for name, block in zip(STAGES, self.blocks, strict=True):
            x = block(pool(x) if name == "layer1" else x)
            found[name] = x
        return found


def mean_of_windows(x: Tensor, side: int = 7) -> Tensor:
    """Mean (N, C) over all windows of `side` x `side` positions and all of time, as these networks' heads take it.

    Of maps larger than a window it is not the plain mean: positions at the rim are in fewer windows.

    >>> mean_of_windows(torch.arange(3.0).view(1, 1, 1, 1, 3), side=2).item()
    1.0
    """
    window = (x.shape[2], min(side, x.shape[3]), min(side, x.shape[4]))
    return nn.functional.avg_pool3d(x, window, stride=1).mean((2, 3, 4))
