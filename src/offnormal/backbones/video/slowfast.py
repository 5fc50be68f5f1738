"""SlowFast (Feichtenhofer et al., ICCV 2019, arXiv 1812.03982): a slow wide pathway and a fast narrow one.

Structure and names are from SLOWFAST_8x8_R50 of pytorchvideo.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from offnormal.backbones.video.base import State, VideoBackbone, VideoCard
from offnormal.backbones.video.published_names import without_head
from offnormal.backbones.video.residual import BlockStage, Residual, Stem, convolution, mean_of_windows, pool
from offnormal.backbones.video.resnet3d import KINETICS, manual_download_error

_ALPHA = 4  # fast frames per slow frame (8x8 model: 32 and 8)
_BETA = 8  # slow channels per fast channel
_FUSION_KERNEL = 7  # kernel of the fusion in fast frames
_SLOW = Residual()
_FAST = replace(_SLOW, width=64 // _BETA, stem_kernel=5, kernels=(3, 3, 3, 3))
_PUBLISHED = "SLOWFAST_8x8_R50.pyth"


class _Fusion(nn.Module):
    """Concatenation of the slow pathway with the fast one at the same frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_fast_to_slow = convolution(channels, 2 * channels, (_FUSION_KERNEL, 1, 1), (_ALPHA, 1, 1))
        self.norm = nn.BatchNorm3d(2 * channels)

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        """(N, C, T / 4, H, W), (N, c, T, H, W) -> (N, C + 2 c, T / 4, H, W)."""
        return torch.cat([slow, relu(self.norm(self.conv_fast_to_slow(fast)))], 1)


class _Pathways(nn.Module):
    """A stem or stage of each pathway and their fusion (not in the last stage)."""

    def __init__(self, slow: nn.Module, fast: nn.Module, fused: int | None) -> None:
        super().__init__()
        self.multipathway_blocks = nn.ModuleList([slow, fast])
        self.multipathway_fusion = None if fused is None else _Fusion(fused)

    def forward(self, slow: Tensor, fast: Tensor, *, is_stem: bool) -> tuple[Tensor, Tensor]:
        """Features of both pathways -> the same after the stage, with the fast pathway fused into the slow one."""
        slow, fast = self.multipathway_blocks[0](slow), self.multipathway_blocks[1](fast)
        if is_stem:
            slow, fast = pool(slow), pool(fast)
        return slow if self.multipathway_fusion is None else self.multipathway_fusion(slow, fast), fast


class _SlowFastNetwork(nn.Module):
    """Both pathways without the classifier."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        slow, fast = [_SLOW.width, *_SLOW.widths], [_FAST.width, *_FAST.widths]
        stems = (Stem(in_channels, slow[0], _SLOW.stem_kernel), Stem(in_channels, fast[0], _FAST.stem_kernel))
        self.blocks = nn.ModuleList([_Pathways(*stems, fused=fast[0])])
        for k in range(4):
            stage = (BlockStage(slow[k] + 2 * fast[k], k, _SLOW), BlockStage(fast[k], k, _FAST))
            self.blocks.append(_Pathways(*stage, fused=fast[k + 1] if k < 3 else None))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normalized clips (N, C, T, H, W) -> (N, 2048, T / 4, H / 32, W / 32), (N, 256, T, H / 32, W / 32)."""
        slow, fast = _slow_frames(x), x
        for number, block in enumerate(self.blocks):
            slow, fast = block(slow, fast, is_stem=number == 0)
        return slow, fast


def _slow_frames(x: Tensor) -> Tensor:
    """Select about every fourth frame from the first to the last; for 32 frames, as PackPathway of pytorchvideo."""
    number = -(-x.shape[2] // _ALPHA)  # as the fusion convolution of stride 4
    return x[:, :, torch.linspace(0, x.shape[2] - 1, number).long().to(x.device)]


class SlowFast(VideoBackbone):
    """SlowFast 8x8 with ResNet-50 pathways."""

    trunk: _SlowFastNetwork
    faster_channels_last = False  # the fast pathway starts with 8 channels
    refusal = "its two pathways have outputs of different length, so no stage covers the clip"

    def __init__(self, name: str, *, in_channels: int = 3) -> None:
        card = VideoCard(
            backbone=name,
            license="Apache-2.0",
            mean=KINETICS[0],
            std=KINETICS[1],
            size=(256, 256),
            frames=32,
            every=2,
            layout="a slow and a fast clip",
            embedding=_SLOW.widths[-1] + _FAST.widths[-1],
            top1=76.94,
            published=_PUBLISHED,
        )
        super().__init__(card, _SlowFastNetwork(in_channels), in_channels)

    def embed(self, x: Tensor) -> Tensor:
        """Clips (N, C, T, H, W) in 0-1 -> (N, 2304): slow, then fast, pooled as in the published classifier."""
        slow, fast = self.trunk(self.normalize(x))
        return torch.cat([mean_of_windows(slow), mean_of_windows(fast)], 1)

    def _rename_tensors(self, state: State) -> State:
        return without_head(state, 6)

    def _find_weights(self) -> tuple[Path, str]:
        raise manual_download_error(self.card.backbone, _PUBLISHED)
