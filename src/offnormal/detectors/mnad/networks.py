"""The network of MNAD (Park et al., CVPR 2020, arXiv 2003.13228): a U-Net with a memory at its bottleneck.

Source: cvlab-yonsei/MNAD, model/final_future_prediction_with_memory_spatial_sumonly_weight_ranking_top1.py and
model/Reconstruction.py. Modules have the same names, so that its weights load by name; the unused
`encoder.moduleBatchNorm` is omitted.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from offnormal.backbones.folding import Pairs, fold
from offnormal.detectors.parts.memory import recall

Method = Literal["pred", "recon"]
MULTIPLE = 8  # of the sides, which are halved three times


def _block(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


def _double_block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(*_block(before, after), *_block(after, after))


def _upsample(before: int, after: int) -> nn.Sequential:
    """Double the sides."""
    up = nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(up, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class _Encoder(nn.Module):
    def __init__(self, channels: int, width: int, item_length: int) -> None:
        super().__init__()
        self.moduleConv1 = _double_block(channels, width)
        self.moduleConv2 = _double_block(width, 2 * width)
        self.moduleConv3 = _double_block(2 * width, 4 * width)
        last = nn.Conv2d(8 * width, item_length, 3, padding=1)  # no normalization and no ReLU: a direction
        self.moduleConv4 = nn.Sequential(*_block(4 * width, 8 * width), last)
        self.halve = nn.MaxPool2d(2)

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Frames (N, channels, H, W) -> query map (N, C, H / 8, W / 8), and features of the larger sizes."""
        first = self.moduleConv1(frames)
        second = self.moduleConv2(self.halve(first))
        third = self.moduleConv3(self.halve(second))
        return self.moduleConv4(self.halve(third)), [first, second, third]


class _Decoder(nn.Module):
    def __init__(self, features: int, channels: int, width: int, *, skips: bool) -> None:
        super().__init__()
        factor = 1 if skips else 2  # without skips, the decoder computes all channels
        self.moduleConv = _double_block(features, 8 * width)
        self.moduleUpsample4 = _upsample(8 * width, 4 * width * factor)
        self.moduleDeconv3 = _double_block(8 * width, 4 * width)
        self.moduleUpsample3 = _upsample(4 * width, 2 * width * factor)
        self.moduleDeconv2 = _double_block(4 * width, 2 * width)
        self.moduleUpsample2 = _upsample(2 * width, width * factor)
        self.moduleDeconv1 = nn.Sequential(
            *_double_block(2 * width, width), nn.Conv2d(width, channels, 3, padding=1), nn.Tanh()
        )

    def forward(self, features: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Features (N, features, H / 8, W / 8) and, for prediction, those of the encoder -> a frame in [-1, 1]."""
        x = self.moduleUpsample4(self.moduleConv(features))
        x = self.moduleUpsample3(self.moduleDeconv3(_concat_skip(skips, 2, x)))
        x = self.moduleUpsample2(self.moduleDeconv2(_concat_skip(skips, 1, x)))
        frame: Tensor = self.moduleDeconv1(_concat_skip(skips, 0, x))
        return frame


class Network(nn.Module):
    """Encoder, memory, decoder (paper, figure 2); for prediction the decoder also gets features of the encoder."""

    def __init__(
        self, method: Method, channels: int, *, frames: int, width: int, item_length: int, memory: bool = True
    ) -> None:
        """channels: of a frame; frames: input frames, stacked along the channels; memory: whether there is a memory."""
        super().__init__()
        self.skips = method == "pred"
        self.memory = memory
        self.encoder = _Encoder(frames * channels, width, item_length)
        self.decoder = _Decoder(item_length * (2 if memory else 1), channels, width, skips=self.skips)

    def forward(self, frames: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (N, frames * channels, H, W) in [-1, 1] -> predicted or reconstructed frame, and raw query map.

        items: (M, C), or (N, M, C), one memory for each.
        """
        query, skips = self.encoder(frames)
        features = recall(query, items).to(query.dtype) if self.memory else query
        return self.decoder(features, skips if self.skips else ()), query


def scoring_form(network: Network, dtype: torch.dtype) -> Network:
    """Copy a network with batch normalization folded into the convolutions, channels last, in `dtype`."""
    folded = copy.deepcopy(network).eval().requires_grad_(False)
    fold(folded, _fold_pairs(folded))
    return folded.requires_grad_(False).to(dtype).to(memory_format=torch.channels_last)


def _fold_pairs(network: nn.Module) -> Pairs:
    """Each convolution with the normalization that follows it."""
    return [
        (f"{path}.{name}", f"{path}.{following}")
        for path, module in network.named_modules()
        if isinstance(module, nn.Sequential)
        for (name, _), (following, after) in zip(
            module.named_children(), list(module.named_children())[1:], strict=False
        )
        if isinstance(after, nn.BatchNorm2d)
    ]


def _concat_skip(skips: Sequence[Tensor], level: int, features: Tensor) -> Tensor:
    return torch.cat([skips[level], features], 1) if skips else features
