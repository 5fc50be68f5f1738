"""The networks of MemAE (Gong et al., ICCV 2019, arXiv 1904.02639): encoder, memory, decoder.

Sources: donggong1/memae-anomaly-detection, models/memae_3dconv.py, for clips; paper, section 4.1, for pictures.
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
_STARVED = 0.5  # share of positions that recall nothing, and so learn nothing, from which a warning is due
_DEVIATION = 0.02  # of weights at the start (published code, utils.py)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One of the networks, and what goes with it."""

    widths: tuple[int, ...]  # channels of the encoder's stages
    back: tuple[int, ...]  # channels of the decoder's blocks, but the last
    strides: tuple[tuple[int, ...], ...]  # of the stages
    kernels: tuple[int, ...]
    slope: float  # of LeakyReLU; 0: ReLU
    channels: Literal[1, 3]
    frames: int
    side: int  # pixels
    memory: int  # items
    query: Query
    learning_rate: float

    def scaled(self, width: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Channels of encoder and decoder when there are `width` after the first convolution."""
        share = 1.0 if width is None else width / self.widths[0]
        first, second = ([max(1, round(share * c)) for c in each] for each in (self.widths, self.back))
        return tuple(first), tuple(second)


FORMS: Mapping[FormName, Form] = {
    "video": Form(  # published code, models/memae_3dconv.py and script_training.py
        widths=(96, 128, 256, 256),
        back=(256, 128, 96),
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
        back=(64, 32),
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
        back=(256, 128, 128),
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
    "image": Form(  # ours: the video form without time, one stage deeper
        widths=(48, 96, 128, 256, 256),
        back=(256, 128, 96, 48),
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
    """Strided convolutions with batch normalization and LeakyReLU, one a stage."""

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
        here, so_far = channels, (1,) * axes
        for number, (width, stride, kernel) in enumerate(zip(widths, strides, kernels, strict=True), 1):
            self.append(convolution(here, width, kernel, stride, kernel // 2))  # type: ignore[arg-type]
            self.append(normalization(width))
            self.append(nn.LeakyReLU(slope, inplace=True))
            here, so_far = width, tuple(a * b for a, b in zip(so_far, stride, strict=True))
            self.channels[f"stage{number}"], self.strides[f"stage{number}"] = here, so_far

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Input (N, C, ...) -> stage -> features; the last is the code."""
        found = {}
        for number, layer in enumerate(self):
            x = layer(x)
            if number % 3 == 2:
                found[f"stage{number // 3 + 1}"] = x
        return found


class MemoryAutoencoder(nn.Module):
    """Encodes, recalls from a memory what is most like the code, and decodes that."""

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
        """Of an encoder and its decoder; memory: number and length of the items, None for a plain autoencoder."""
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
        """Pixels (N, C, ...) in [-1, 1] -> the same reconstructed, and attention (N, M, ...), None without memory."""
        stages: dict[str, Tensor] = self.encoder(x)
        code = list(stages.values())[-1]
        attention = None
        if self.memory is not None:
            asked = code.flatten(1) if self.query == "whole" else code
            recalled, attention = address(asked, self.memory, self.shrink, self.similarity)
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
    """The network of a form for an input, with the published code's start, drawn from torch's generator.

    encoder: another one in place of the form's, left as it is. Raises ConfigError for an input that does not come back.
    """
    widths, back = form.scaled(width)
    shape = (spec.channels, *([spec.frames] if spec.frames > 1 else []), *spec.size)
    chosen: Encoder = encoder or _PlainEncoder(spec.channels, widths, form.strides, form.kernels, form.slope)
    decoder = Decoder(chosen, spec.channels, back if encoder is None else None, slope=form.slope)
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
    """In which convolutions compute faster."""
    return torch.channels_last_3d if spec.frames > 1 else torch.channels_last


def scoring_form(network: MemoryAutoencoder, spec: InputSpec) -> MemoryAutoencoder:
    """A copy with batch normalization folded into the convolutions before it."""
    made = copy.deepcopy(network).requires_grad_(False).eval()
    size = ((spec.frames,) if spec.frames > 1 else ()) + spec.size
    fold(made, find_pairs(made, size, spec.channels))
    return made.requires_grad_(False).to(memory_format=memory_layout(spec))


class MemoryWatch(nn.Module):
    """Counts over an epoch the positions that recall nothing, and the items that nothing recalls; in no state."""

    def __init__(self, items: int, shrink: float) -> None:
        super().__init__()
        self.shrink = shrink
        self.register_buffer("recalled", torch.zeros(items), persistent=False)
        self.register_buffer("_dead", torch.zeros(2), persistent=False)
        self.recalled: Tensor  # (M,) weight that each item had since the last epoch ended
        self._dead: Tensor  # positions that recalled nothing since then, and all positions
        self._warned = False

    @torch.no_grad()
    def see(self, attention: Tensor) -> None:
        """Count the weights of a step (N, M, ...)."""
        self.recalled += by_item(attention).sum(0)
        recalled = attention.sum(1) > 0
        self._dead[0] += (~recalled).sum()
        self._dead[1] += recalled.numel()

    def epoch_ended(self) -> dict[str, float]:
        """Share of the positions that recalled nothing, and of the items that were never recalled; counts anew."""
        if not self._dead[1]:
            return {}
        dead, unused = float(self._dead[0] / self._dead[1]), float((self.recalled == 0).float().mean())
        if dead > _STARVED and not self._warned:
            self._warned = True
            log.warning(
                "%.0f %% of all positions recalled nothing from memory in this epoch, and so taught nothing: none of "
                "their weights was above %.3g. If log.jsonl does not show it to fall, lower --sparsity or --shrink",
                100 * dead,
                self.shrink,
            )
        self._dead.zero_()
        self.recalled.zero_()
        return {"dead_positions": round(dead, 4), "unused_items": round(unused, 4)}


def by_item(attention: Tensor) -> Tensor:
    """Attention (N, M, ...) -> sum of the weights of each item over all positions (N, M)."""
    return attention.flatten(2).sum(2) if attention.ndim > 2 else attention


def _initialize(network: nn.Module) -> None:
    """Convolutions N(0, 0.02), batch normalization N(1, 0.02) without shift; biases as torch has them."""
    for module in network.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            nn.init.normal_(module.weight, 0.0, _DEVIATION)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(module.weight, 1.0, _DEVIATION)
            nn.init.zeros_(module.bias)
