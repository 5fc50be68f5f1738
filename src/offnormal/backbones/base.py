"""The interface of pretrained feature extractors, the card of their weights, and a dry run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

_Output = TypeVar("_Output")


class WeightCard(BaseModel):
    """Origin and license of pretrained weights; stored in every bundle that contains them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    source: str = "random weights"  # package, file name, or URL of the weights
    license: str
    mean: tuple[float, ...]  # per channel, of pixels in 0-1
    std: tuple[float, ...]
    size: tuple[int, int]  # (H, W) in pixels of the training images
    sha256: str | None = None  # of the weights file; None: random weights


class Encoder(nn.Module, ABC):
    """A network with named stages, for which a decoder can be derived."""

    channels: dict[str, int]  # stage -> number of channels, in order of depth
    strides: dict[str, tuple[int, ...]]  # stage -> stride per axis, in input positions

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Input (N, C, ...) -> stage -> features (N, C_l, ...); the last stage is the code."""


class Backbone(Encoder):
    """Images in 0-1 -> named feature maps; includes the normalization of the weights."""

    card: WeightCard

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, axes: int = 2) -> None:
        super().__init__()
        shape = (1, -1, *[1] * axes)  # 2 axes: images, 3: clips
        self.register_buffer("mean", torch.tensor(mean).view(shape))
        self.register_buffer("std", torch.tensor(std).view(shape))
        self.mean: Tensor
        self.std: Tensor

    def normalize(self, x: Tensor) -> Tensor:
        """Pixels (N, C, H, W), or (N, C, T, H, W), in 0-1 -> normalized as in the training of the weights."""
        return (x - self.mean) / self.std

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Pixels (N, C, H, W) in 0-1 -> layer -> features (N, C_l, H_l, W_l)."""

    def reference(self) -> nn.Module | None:
        """The same network from its library, up to the last layer used, for benchmarks; None without a library."""
        return None

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode, so that batch statistics never change."""
        return super().train(False)


@torch.no_grad()
def dry_run(network: nn.Module, call: Callable[[Tensor], _Output], shape: Sequence[int]) -> _Output:
    """Output of `call`, which uses the network, for an input of shape (N, C, ...): tensors on the device "meta".

    The network runs in evaluation mode with replaced parameters and buffers. It does not change, including running
    statistics and modes.
    """
    tensors = (*network.named_parameters(), *network.named_buffers())
    empty = {f"network.{name}": value.to("meta") for name, value in tensors}
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        output: _Output = torch.func.functional_call(
            _Caller(network, call), empty, (torch.empty(shape, device="meta"),)
        )
    finally:
        for module, training in modes:
            module.training = training
    return output


class _Caller(nn.Module):
    def __init__(self, network: nn.Module, call: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.network = network
        self.calls = (call,)  # a tuple, so that the network is not registered twice

    def forward(self, x: Tensor) -> object:
        return self.calls[0](x)
