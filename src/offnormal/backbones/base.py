"""The contract of a pretrained feature extractor, the card that says where its weights come from, and a dry run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

_Found = TypeVar("_Found")


class WeightCard(BaseModel):
    """What a user must know of pretrained weights; stored in every bundle that contains them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    source: str = "random weights"  # package, file name or address that the weights were read from
    license: str
    mean: tuple[float, ...]  # per channel, of pixels in 0-1
    std: tuple[float, ...]
    size: tuple[int, int]  # (H, W) in pixels that the weights were trained at
    sha256: str | None = None  # of the file of weights; None: random weights


class Encoder(nn.Module, ABC):
    """A network with named stages, from which a decoder can be derived that brings its last one back."""

    channels: dict[str, int]  # stage -> number of channels, in order of depth
    strides: dict[str, tuple[int, ...]]  # stage -> positions of the input per step of its features, per axis

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Input (N, C, ...) -> stage -> features (N, C_l, ...), the last of them the code."""


class Backbone(Encoder):
    """Pictures in 0-1 -> named feature maps; the normalization that the weights expect is inside."""

    card: WeightCard

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, axes: int = 2) -> None:
        super().__init__()
        shape = (1, -1, *[1] * axes)  # 2 axes: pictures, 3: clips
        self.register_buffer("mean", torch.tensor(mean).view(shape))
        self.register_buffer("std", torch.tensor(std).view(shape))
        self.mean: Tensor
        self.std: Tensor

    def normalize(self, x: Tensor) -> Tensor:
        """Pixels (N, C, H, W), or (N, C, T, H, W), in 0-1 -> what the weights were trained on."""
        return (x - self.mean) / self.std

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Pixels (N, C, H, W) in 0-1 -> layer -> features (N, C_l, H_l, W_l)."""

    def reference(self) -> nn.Module | None:
        """The same network as its library makes it, up to the last layer used: the yardstick of benchmarks.

        None for a backbone that no library makes.
        """
        return None

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode: batch statistics of a pretrained extractor are never touched."""
        return super().train(False)


@torch.no_grad()
def dry_run(network: nn.Module, call: Callable[[Tensor], _Found], shape: Sequence[int]) -> _Found:
    """What `call`, which uses the network, gives for an input of a shape (N, C, ...): tensors on the device "meta".

    The network runs in evaluation mode, its parameters and buffers replaced; afterwards it is as before, running
    statistics and modes included.
    """
    numbers = (*network.named_parameters(), *network.named_buffers())
    empty = {f"network.{name}": value.to("meta") for name, value in numbers}
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        found: _Found = torch.func.functional_call(_Caller(network, call), empty, (torch.empty(shape, device="meta"),))
    finally:
        for module, training in before:
            module.training = training
    return found


class _Caller(nn.Module):
    def __init__(self, network: nn.Module, call: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.network = network
        self.calls = (call,)  # which may be the network: in a tuple it is not a second part

    def forward(self, x: Tensor) -> object:
        return self.calls[0](x)
