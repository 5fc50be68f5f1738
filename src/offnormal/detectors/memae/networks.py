"""The networks of MemAE (Gong et al., ICCV 2019, arXiv 1904.02639): encoder, memory, decoder.

Sources: donggong1/memae-anomaly-detection, models/memae_3dconv.py, for clips; paper, section 4.1, for images.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from offnormal.backbones.base import Encoder, dry_run
from offnormal.backbones.folding import find_pairs, fold
from offnormal.detectors.parts.decoder import Decoder, check_sizes, decode
from offnormal.detectors.parts.memory import Similarity, address
from offnormal.types import InputSpec

log = logging.getLogger(__name__)

FormName = Literal["video", "mnist", "cifar", "image"]
Query = Literal["position", "whole"]
_STARVED = 0.5  # share of positions that recall nothing, and so learn nothing, above which a warning is logged
_DEVIATION = 0.02  # of initial weights (published code, utils.py)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One of the networks, with its defaults."""

    widths: tuple[int, ...]  # channels of the encoder's stages
    decoder_widths: tuple[int, ...]  # channels of the decoder's blocks, except the last
    strides: tuple[tuple[int, ...], ...]  # per stage
    kernels: tuple[int, ...]
    slope: float  # of LeakyReLU; 0: ReLU
    channels: Literal[1, 3]
    frames: int
    side: int  # pixels
    memory: int  # items
    query: Query
    learning_rate: float

    def scale_widths(self, width: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Channels of encoder and decoder, with `width` channels after the first convolution."""
        share = 1.0 if width is None else width / self.widths[0]
        encoder, decoder = ([max(1, round(share * c)) for c in each] for each in (self.widths, self.decoder_widths))
        return tuple(encoder), tuple(decoder)


FORMS: Mapping[FormName, Form] = {
    "video": Form(  # published code, models/memae_3dconv.py and script_training.py
        widths=(96, 128, 256, 256),
        decoder_widths=(256, 128, 96),
        strides=((1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
        kernels=(3, 3, 3, 3),
        slope=0.2,
        channels=1,
        frames=16,
        side=256,
        memory=2000,
        query="position",
        learning_rate=1e-4,
    ),
    "mnist": Form(  # paper, section 4.1
        widths=(16, 32, 64),
        decoder_widths=(64, 32),
        strides=((2, 2),) * 3,
        kernels=(1, 3, 3),
        slope=0.0,
        channels=1,
        frames=1,
        side=28,
        memory=100,
        query="whole",
        learning_rate=1e-3,
    ),
    "cifar": Form(  # paper, section 4.1
        widths=(64, 128, 128, 256),
        decoder_widths=(256, 128, 128),
        strides=((2, 2),) * 4,
        kernels=(3, 3, 3, 3),
        slope=0.0,
        channels=3,
        frames=1,
        side=32,
        memory=500,
        query="whole",
        learning_rate=1e-3,
    ),
    "image": Form(  # our addition: the video form without time, one stage deeper
        widths=(48, 96, 128, 256, 256),
        decoder_widths=(256, 128, 96, 48),
        strides=((2, 2),) * 5,
        kernels=(3, 3, 3, 3, 3),
        slope=0.2,
        channels=3,
        frames=1,
        side=256,
        memory=1000,
        query="position",
        learning_rate=1e-3,
    ),
}


class _PlainEncoder(nn.Sequential, Encoder):
    """Strided convolutions with batch normalization and LeakyReLU, one per stage."""

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        strides: Sequence[tuple[int, ...]],
        kernels: Sequence[int],
        slope: float,
    ) -> None:
        super().__init__()
        self.channels: dict[str, int] = {}
        self.strides: dict[str, tuple[int, ...]] = {}
        axes = len(strides[0])
        convolution = (nn.Conv2d, nn.Conv3d)[axes - 2]
        normalization = (nn.BatchNorm2d, nn.BatchNorm3d)[axes - 2]
        before, total_stride = channels, (1,) * axes
        for number, (width, stride, kernel) in enumerate(zip(widths, strides, kernels, strict=True), 1):
            self.append(convolution(before, width, kernel, stride, kernel // 2))  # type: ignore[arg-type]
            self.append(normalization(width))
            self.append(nn.LeakyReLU(slope, inplace=True))
            before, total_stride = width, tuple(a * b for a, b in zip(total_stride, stride, strict=True))
            self.channels[f"stage{number}"], self.strides[f"stage{number}"] = before, total_stride

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Input (N, C, ...) -> features by stage; the last is the code."""
        stages = {}
        for number, layer in enumerate(self):
            x = layer(x)
            if number % 3 == 2:
                stages[f"stage{number // 3 + 1}"] = x
        return stages


class MemoryAutoencoder(nn.Module):
    """Encodes, recalls the most similar patterns from a memory, and decodes them."""

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        memory: tuple[int, int] | None,
        *,
        shrink: float = 0.0,
        similarity: Similarity = "dot",
        query: Query = "position",
    ) -> None:
        """memory: number and length of the items; None for a plain autoencoder."""
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.memory: nn.Parameter | None = None  # (M, C)
        if memory is not None:
            bound = memory[1] ** -0.5  # published code, models/memory_module.py
            self.memory = nn.Parameter(torch.empty(memory).uniform_(-bound, bound))
        self.shrink = shrink
        self.similarity = similarity
        self.query = query

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pixels (N, C, ...) in [-1, 1] -> reconstructions, and attention (N, M, ...) or None without memory."""
        stages: dict[str, Tensor] = self.encoder(x)
        code = list(stages.values())[-1]
        attention = None
        if self.memory is not None:
            query = code.flatten(1) if self.query == "whole" else code
            recalled, attention = address(query, self.memory, self.shrink, self.similarity)
            code = recalled.view_as(code)
        return decode(self.decoder, code, stages, x), attention


def build_network(
    form: Form,
    spec: InputSpec,
    *,
    width: int | None,
    items: int,
    shrink: float,
    similarity: Similarity,
    query: Query,
    encoder: Encoder | None = None,
) -> MemoryAutoencoder:
    """Build the network of a form for an input, initialized as in the published code from torch's generator.

    encoder: replaces the form's encoder, with its weights as they are. Raises ConfigError for unsupported input sizes.
    """
    widths, decoder_widths = form.scale_widths(width)
    shape = (spec.channels, *([spec.frames] if spec.frames > 1 else []), *spec.size)
    chosen: Encoder = encoder or _PlainEncoder(spec.channels, widths, form.strides, form.kernels, form.slope)
    decoder = Decoder(chosen, spec.channels, decoder_widths if encoder is None else None, slope=form.slope)
    check_sizes(chosen, decoder, shape)
    if encoder is None:
        _initialize(chosen)
    _initialize(decoder)
    length = list(chosen.channels.values())[-1]
    if query == "whole":
        stages: dict[str, Tensor] = dry_run(chosen, chosen, (1, *shape))
        length *= math.prod(list(stages.values())[-1].shape[2:])
    return MemoryAutoencoder(
        chosen, decoder, (items, length) if items else None, shrink=shrink, similarity=similarity, query=query
    )


def memory_layout(spec: InputSpec) -> torch.memory_format:
    """Memory layout in which convolutions are faster."""
    return torch.channels_last_3d if spec.frames > 1 else torch.channels_last


def scoring_form(network: MemoryAutoencoder, spec: InputSpec) -> MemoryAutoencoder:
    """Copy a network with batch normalization folded into the preceding convolutions."""
    folded = copy.deepcopy(network).requires_grad_(False).eval()
    size = ((spec.frames,) if spec.frames > 1 else ()) + spec.size
    fold(folded, find_pairs(folded, size, spec.channels))
    return folded.requires_grad_(False).to(memory_format=memory_layout(spec))


class MemoryMonitor(nn.Module):
    """Counts, per epoch, positions that recall nothing and items never recalled; not part of the state."""

    def __init__(self, items: int, shrink: float) -> None:
        super().__init__()
        self.shrink = shrink
        self.register_buffer("recalled", torch.zeros(items), persistent=False)
        self.register_buffer("_dead", torch.zeros(2), persistent=False)
        self.recalled: Tensor  # (M,) weight of each item in this epoch
        self._dead: Tensor  # positions that recalled nothing in this epoch, and all positions
        self._warned = False

    @torch.no_grad()
    def count(self, attention: Tensor) -> None:
        """Count the weights (N, M, ...) of a step."""
        self.recalled += sum_per_item(attention).sum(0)
        recalled = attention.sum(1) > 0
        self._dead[0] += (~recalled).sum()
        self._dead[1] += recalled.numel()

    def end_epoch(self) -> dict[str, float]:
        """Return the shares of positions that recalled nothing and of items never recalled; reset the counts."""
        if not self._dead[1]:
            return {}
        dead, unused = float(self._dead[0] / self._dead[1]), float((self.recalled == 0).float().mean())
        if dead > _STARVED and not self._warned:
            self._warned = True
            log.warning(
                "%.0f %% of all positions recalled nothing from memory in this epoch, and did not train it: none of "
                "their weights was above %.3g. Unless dead_positions falls in log.jsonl, lower --sparsity or --shrink",
                100 * dead,
                self.shrink,
            )
        self._dead.zero_()
        self.recalled.zero_()
        return {"dead_positions": round(dead, 4), "unused_items": round(unused, 4)}


def sum_per_item(attention: Tensor) -> Tensor:
    """Attention (N, M, ...) -> weight of each item (N, M), summed over all positions."""
    return attention.flatten(2).sum(2) if attention.ndim > 2 else attention


def _initialize(network: nn.Module) -> None:
    """Convolutions N(0, 0.02), batch normalization N(1, 0.02) without shift; biases as in torch."""
    for module in network.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            nn.init.normal_(module.weight, 0.0, _DEVIATION)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(module.weight, 1.0, _DEVIATION)
            nn.init.zeros_(module.bias)
