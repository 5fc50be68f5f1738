"""Running a network on shapes instead of numbers: what comes out of it how large, at no cost and without a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_Found = TypeVar("_Found")


@torch.no_grad()
def dry_run(network: nn.Module, call: Callable[[Tensor], _Found], shape: Sequence[int]) -> _Found:
    """What `call`, which uses the network, gives for an input of a shape (N, C, ...): tensors on the device "meta".

    The network runs in evaluation mode, its parameters and buffers replaced; afterwards it is as before, running
    statistics and modes included.
    """
    numbers = (*network.named_parameters(), *network.named_buffers())
    empty = {f"network.{name}": value.to("meta") for name, value in numbers}
    with in_evaluation(network):
        found: _Found = torch.func.functional_call(_Caller(network, call), empty, (torch.empty(shape, device="meta"),))
    return found


@contextmanager
def in_evaluation(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then each part is again in the mode that it was in."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


class _Caller(nn.Module):
    def __init__(self, network: nn.Module, call: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.network = network
        self.calls = (call,)  # which may be the network: in a tuple it is not a second part

    def forward(self, x: Tensor) -> Any:
        return self.calls[0](x)
