"""The contract of a network of clips: stage tensors for those that can be encoders, an embedding for all."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from offnormal.backbones.base import Backbone, WeightCard, dry_run
from offnormal.backbones.weights import fill, read_weights, sha256_of
from offnormal.errors import ConfigError, WeightsError

log = logging.getLogger(__name__)

Size = tuple[int, int, int]  # (T, H, W)
State = dict[str, Tensor]
_Found = TypeVar("_Found")
Temporal = Literal["published", "mixed", "stem8"]
# How an encoder shortens time. published: as its weights were trained. mixed: eightfold, each step a mixture of all
# its frames. stem8: one frame of eight, the others never looked at (mmaction2's conv1_stride_t=8), for comparison.


class VideoCard(WeightCard):
    """What a user must know of a network of clips and its published weights."""

    frames: int  # of a clip that the weights were trained on
    every: int | None  # source frames, of about 30 a second, from one frame of it to the next; None: not said
    layout: str = "one clip"  # what the network itself eats; users always pass clips (N, C, T, H, W)
    embedding: int  # numbers of a clip's embedding
    top1: float | None = None  # per cent of Kinetics-400, as published with the weights
    published: str | None = None  # name of the published weights; None: there are none
    non_commercial: bool = False  # the license of the published weights forbids commercial use


@dataclass(frozen=True, slots=True)
class Stage:
    """A tensor that an encoder gives, for an input of a certain size."""

    name: str
    channels: int
    size: Size


class VideoBackbone(Backbone):
    """Clips (N, C, T, H, W) in 0-1 -> stages and an embedding; everything else is the network's own business."""

    card: VideoCard
    trunk: nn.Module  # the network, its parameters named as published
    refusal: str | None = None  # why it cannot be an encoder
    faster_channels_last: bool = True  # whether its convolutions are, on a processor (benchmarks/video_backbones.py)

    def __init__(self, card: VideoCard, trunk: nn.Module, in_channels: int) -> None:
        if in_channels not in (1, 3):
            raise ConfigError(f"{card.backbone}: {in_channels} channels; clips have 3 (color) or 1 (gray)")
        super().__init__(*_normalization(card, in_channels), axes=3)
        self.in_channels = in_channels
        self.card = card
        self.trunk = trunk
        self.channels: dict[str, int] = {}
        self.strides: dict[str, tuple[int, ...]] = {}
        self._frozen = False

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Clips (N, C, T, H, W) in 0-1 -> embeddings (N, D)."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Clips (N, C, T, H, W) in 0-1 -> stage -> features (N, C_s, T_s, H_s, W_s); the last one is the code.

        Raises ConfigError for a network that cannot be an encoder.
        """
        raise ConfigError(f"{self.card.backbone} cannot be an encoder: {self.refusal}; `offnormal list backbones`")

    def stages(self, size: Size) -> tuple[Stage, ...]:
        """What `forward` gives for clips of (T, H, W), from the first to the code, found without computing.

        Raises ConfigError for a network that cannot be an encoder, or that cannot take this size.
        """
        found = self._dry(self.forward, size)
        shapes = {name: features.shape for name, features in found.items()}
        return tuple(Stage(name, c, (t, h, w)) for name, (_, c, t, h, w) in shapes.items())

    def dry_embedding(self, size: Size) -> Tensor:
        """An embedding (1, D) without numbers, of a clip of (T, H, W)."""
        return self._dry(self.embed, size)

    def _dry(self, call: Callable[[Tensor], _Found], size: Size) -> _Found:
        try:
            return dry_run(self, call, (1, self.in_channels, *size))
        except RuntimeError as error:
            shape = " x ".join(map(str, size))
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"{self.card.backbone} cannot take clips of {shape} (T x H x W): {reason}; its weights were trained on "
                f"{self.card.frames} x {self.card.size[0]} x {self.card.size[1]}"
            ) from None

    @property
    def network(self) -> nn.Module:
        """That whose parts `freeze` names."""
        return self.trunk

    def freeze(self, leave: Sequence[str] = ()) -> None:
        """Learn nothing more, but for the parts of the network that are named, such as `layer4.1`; "" is all of it.

        The network stays in evaluation mode, also while the named parts learn: batch statistics are never touched.
        Raises ConfigError for a part that does not exist.
        """
        parts = dict(self.network.named_modules())
        for name in leave:
            if name not in parts or not any(True for _ in parts[name].parameters()):
                raise ConfigError(
                    f"{self.card.backbone} has no part {name!r} that could learn; parts are {_top(parts)}"
                )
        self.requires_grad_(False)
        for name in leave:
            parts[name].requires_grad_(True)
        self._frozen = True
        nn.Module.train(self, False)

    def train(self, mode: bool = True) -> VideoBackbone:
        """As in every module, but a frozen network stays in evaluation mode."""
        if not self._frozen:  # else it is in evaluation mode, and need not be gone through in every step
            nn.Module.train(self, mode)
        return self

    def load_pretrained(self, weights: Path | None = None) -> None:
        """Fill in published weights: from a file, or from where this network's are known to lie.

        Raises WeightsError when they cannot be had or do not fit. Says so when they are not for commercial use.
        """
        path, source = (weights, weights.name) if weights is not None else self._find()
        state = self._translate(read_weights(path))
        fill(self.trunk, state, path, self.card.backbone)
        self.card = self.card.model_copy(update={"source": source, "sha256": sha256_of(path)})
        self.say_license()

    def say_license(self) -> None:
        """Say so when the weights are not for commercial use."""
        if self.card.non_commercial:
            log.warning("weights of %s: %s, not for commercial use", self.card.backbone, self.card.license)

    def renormalize(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take the normalization of other weights: per color, of pixels in 0-1."""
        self.card = self.card.model_copy(update={"mean": tuple(mean), "std": tuple(std)})
        for own, values in zip((self.mean, self.std), _normalization(self.card, self.in_channels), strict=True):
            own.copy_(torch.tensor(values).view_as(own))

    def _find(self) -> tuple[Path, str]:
        raise WeightsError(f"no weights of {self.card.backbone} are published; give a file of your own: --weights FILE")

    def _translate(self, state: State) -> State:
        """Tensors by published names -> by the trunk's, those of the classifier left out."""
        return state


def _normalization(card: WeightCard, in_channels: int) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and spread of each channel; of gray those of the three colors, whose weights the stem adds up."""
    if in_channels == 3:
        return card.mean, card.std
    return [sum(card.mean) / 3], [sum(card.std) / 3]


def make_gray(trunk: nn.Module) -> None:
    """Let the convolutions that read colors read gray, with the sum of their weights over the colors."""
    for module in trunk.modules():
        if isinstance(module, nn.Conv3d) and module.in_channels == 3 and module.groups == 1:
            module.weight = nn.Parameter(module.weight.detach().sum(1, keepdim=True))
            module.in_channels = 1


def resample(x: Tensor, frames: int) -> Tensor:
    """As many frames of a clip (N, C, T, H, W), spread evenly from the first to the last.

    >>> resample(torch.arange(5.0).view(1, 1, 5, 1, 1), 3).flatten().tolist()
    [0.0, 2.0, 4.0]
    """
    if x.shape[2] == frames:
        return x
    return x[:, :, torch.linspace(0, x.shape[2] - 1, frames).round().long().to(x.device)]


def _top(parts: dict[str, nn.Module]) -> str:
    return ", ".join(
        name for name, part in parts.items() if name and name.count(".") < 2 and any(True for _ in part.parameters())
    )
