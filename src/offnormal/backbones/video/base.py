"""The interface of clip networks: stage tensors of encoders, and an embedding of all networks."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from offnormal.backbones.base import Backbone, WeightCard, dry_run
from offnormal.backbones.weights import load_state, read_weights, sha256_of
from offnormal.errors import ConfigError, WeightsError

log = logging.getLogger(__name__)

Size = tuple[int, int, int]  # (T, H, W)
State = dict[str, Tensor]
_Output = TypeVar("_Output")
Temporal = Literal["published", "mixed", "stem8"]
# How an encoder downsamples time. published: as in the training of the weights. mixed: by 8, with all frames mixed.
# stem8: one frame of eight, without the others (conv1_stride_t=8 of mmaction2), for comparison.


class VideoCard(WeightCard):
    """Card of a clip network and its published weights."""

    frames: int  # per training clip of the weights
    every: int | None  # source frames (about 30 fps) from one frame to the next; None: unknown
    layout: str = "one clip"  # input layout of the network; users always pass clips (N, C, T, H, W)
    embedding: int  # length of the embedding of a clip
    top1: float | None = None  # percent on Kinetics-400, as published
    published: str | None = None  # name of the published weights; None: not published
    non_commercial: bool = False  # the license of the published weights forbids commercial use


@dataclass(frozen=True, slots=True)
class Stage:
    """Shape of one stage output of an encoder."""

    name: str
    channels: int
    size: Size


class VideoBackbone(Backbone):
    """Clips (N, C, T, H, W) in 0-1 -> stages and an embedding."""

    card: VideoCard
    trunk: nn.Module  # the network, with published parameter names
    refusal: str | None = None  # why it cannot be an encoder
    faster_channels_last: bool = True  # of convolutions on a CPU (benchmarks/video_backbones.py)

    def __init__(self, card: VideoCard, trunk: nn.Module, in_channels: int) -> None:
        if in_channels not in (1, 3):
            raise ConfigError(f"{card.backbone}: {in_channels} channels; expected 3 (color) or 1 (gray)")
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
        """Clips (N, C, T, H, W) in 0-1 -> stage -> features (N, C_s, T_s, H_s, W_s); the last stage is the code.

        Raises ConfigError for a network that cannot be an encoder.
        """
        raise ConfigError(f"{self.card.backbone} cannot be an encoder: {self.refusal} (offnormal list backbones)")

    def stages(self, size: Size) -> tuple[Stage, ...]:
        """Shapes of the stages for clips of (T, H, W), by a dry run.

        Raises ConfigError for a network that cannot be an encoder and for a wrong clip size.
        """
        shapes = {name: features.shape for name, features in self._dry_run(self.forward, size).items()}
        return tuple(Stage(name, c, (t, h, w)) for name, (_, c, t, h, w) in shapes.items())

    def dry_embedding(self, size: Size) -> Tensor:
        """Embedding (1, D) of a clip of (T, H, W), without values, by a dry run."""
        return self._dry_run(self.embed, size)

    def _dry_run(self, call: Callable[[Tensor], _Output], size: Size) -> _Output:
        try:
            return dry_run(self, call, (1, self.in_channels, *size))
        except RuntimeError as error:
            shape = "x".join(map(str, size))
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"{self.card.backbone}: clips of {shape} (TxHxW) have a wrong size: {reason}; training clips had "
                f"{self.card.frames}x{self.card.size[0]}x{self.card.size[1]}"
            ) from None

    @property
    def network(self) -> nn.Module:
        """The network with the part names of `freeze`."""
        return self.trunk

    def freeze(self, trainable: Sequence[str] = ()) -> None:
        """Freeze the network except for the `trainable` parts, such as `layer4.1`; "" is the whole network.

        The network stays in evaluation mode, so that batch statistics never change. Raises ConfigError for an unknown
        part.
        """
        parts = dict(self.network.named_modules())
        for name in trainable:
            if name not in parts or not any(True for _ in parts[name].parameters()):
                raise ConfigError(
                    f"{self.card.backbone}: no trainable part {name!r}; expected one of {_trainable_names(parts)}"
                )
        self.requires_grad_(False)
        for name in trainable:
            parts[name].requires_grad_(True)
        self._frozen = True
        nn.Module.train(self, False)

    def train(self, mode: bool = True) -> VideoBackbone:
        """Set the mode, except for a frozen network, which stays in evaluation mode."""
        if not self._frozen:  # a frozen network is already in evaluation mode
            nn.Module.train(self, mode)
        return self

    def load_pretrained(self, weights: Path | None = None) -> None:
        """Load published weights from a file or from the known source of this network.

        Raises WeightsError for missing or wrong weights. Logs a warning for weights without commercial use.
        """
        path, source = (weights, weights.name) if weights is not None else self._find_weights()
        state = self._rename_tensors(read_weights(path))
        load_state(self.trunk, state, path, self.card.backbone)
        self.card = self.card.model_copy(update={"source": source, "sha256": sha256_of(path)})
        self.warn_about_license()

    def warn_about_license(self) -> None:
        """Log a warning if the weights are not for commercial use."""
        if self.card.non_commercial:
            log.warning("weights of %s: %s, not for commercial use", self.card.backbone, self.card.license)

    def renormalize(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Replace the normalization: values per color, for pixels in 0-1."""
        self.card = self.card.model_copy(update={"mean": tuple(mean), "std": tuple(std)})
        for buffer, values in zip((self.mean, self.std), _normalization(self.card, self.in_channels), strict=True):
            buffer.copy_(torch.tensor(values).view_as(buffer))

    def _find_weights(self) -> tuple[Path, str]:
        raise WeightsError(f"{self.card.backbone}: no published weights; set a file with --weights FILE")

    def _rename_tensors(self, state: State) -> State:
        """Rename published tensors to the names of the trunk, without the classifier."""
        return state


def _normalization(card: WeightCard, in_channels: int) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation per channel; for gray averaged over the colors."""
    if in_channels == 3:
        return card.mean, card.std
    return [sum(card.mean) / 3], [sum(card.std) / 3]


def make_gray(trunk: nn.Module) -> None:
    """Convert color convolutions to gray, with weights summed over the colors."""
    for module in trunk.modules():
        if isinstance(module, nn.Conv3d) and module.in_channels == 3 and module.groups == 1:
            module.weight = nn.Parameter(module.weight.detach().sum(1, keepdim=True))
            module.in_channels = 1


def resample(x: Tensor, frames: int) -> Tensor:
    """Select `frames` frames of a clip (N, C, T, H, W), evenly from the first to the last.

    >>> resample(torch.arange(5.0).view(1, 1, 5, 1, 1), 3).flatten().tolist()
    [0.0, 2.0, 4.0]
    """
    if x.shape[2] == frames:
        return x
    return x[:, :, torch.linspace(0, x.shape[2] - 1, frames).round().long().to(x.device)]


def _trainable_names(parts: dict[str, nn.Module]) -> str:
    return ", ".join(
        name for name, part in parts.items() if name and name.count(".") < 2 and any(True for _ in part.parameters())
    )


class Network(Protocol):
    """Class of a clip network."""

    refusal: str | None

    def __call__(self, name: str, *, in_channels: int = 3, temporal: Temporal = "published") -> VideoBackbone:
        """Create a network by name; temporal: only for encoders."""
        ...
