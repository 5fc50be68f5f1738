"""Batch normalization folded into the convolution before it, which saves a pass over every feature map.

In eval mode it is a scale and an offset of each channel, and so is a part of the convolution's weights and bias.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from offnormal.backbones.base import dry_run

Pairs = list[tuple[str, str]]  # names of a convolution and of the normalization that alone reads it
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMALIZATIONS = (nn.BatchNorm2d, nn.BatchNorm3d)
_TOLERANCE = 1e-3  # of the largest feature, between the network and its folded form
_Network = TypeVar("_Network", bound=nn.Module)


def find_pairs(
    network: nn.Module, size: tuple[int, ...], channels: int = 3, call: Callable[[Tensor], object] | None = None
) -> Pairs:
    """The convolutions whose output a batch normalization takes as it is, found without computing.

    size: (H, W) or (T, H, W) that the network takes; call: what to run of it instead of all.
    """
    made: dict[int, tuple[str, Tensor]] = {}  # tensors are kept, so that no two get the same identity
    pairs: Pairs = []

    def remember(name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        made[id(output)] = (name, output)

    def match(name: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], name))

    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, _CONVOLUTIONS):
            hooks.append(module.register_forward_hook(partial(remember, name)))
        elif isinstance(module, _NORMALIZATIONS):
            hooks.append(module.register_forward_pre_hook(partial(match, name)))
    try:
        dry_run(network, call or network, (1, channels, *size))
    finally:
        for hook in hooks:
            hook.remove()
    return pairs


def fold(network: nn.Module, pairs: Pairs) -> None:
    """Put each normalization's scale and offset into its convolution and take it out; its activation stays."""
    for convolution_name, name in pairs:
        convolution, normalization = network.get_submodule(convolution_name), network.get_submodule(name)
        assert isinstance(convolution, _CONVOLUTIONS) and isinstance(normalization, _NORMALIZATIONS)
        scale, offset = _affine(normalization)
        before = torch.zeros_like(offset) if convolution.bias is None else convolution.bias
        weight = convolution.weight  # (out, in, ...), of transposed ones (in, out, ...)
        axes = [1] * weight.ndim
        axes[1 if convolution.transposed else 0] = -1
        convolution.weight = nn.Parameter(weight * scale.view(axes))
        convolution.bias = nn.Parameter(before * scale + offset)
        parent, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(parent), leaf, _rest(normalization))


def unfold(network: nn.Module, folded: dict[str, Tensor], pairs: Pairs) -> None:
    """Fill a network that is not folded so that it computes what the folded state says."""
    own = {key: folded[key] for key in network.state_dict() if key in folded}
    for convolution_name, name in pairs:
        normalization = network.get_submodule(name)
        assert isinstance(normalization, nn.BatchNorm2d)
        channels = normalization.num_features
        own[f"{name}.running_mean"] = torch.zeros(channels)
        own[f"{name}.running_var"] = torch.ones(channels) - normalization.eps
        own[f"{name}.weight"] = torch.ones(channels)
        own[f"{name}.bias"] = folded[f"{convolution_name}.bias"]
        if f"{convolution_name}.bias" in own:
            own[f"{convolution_name}.bias"] = torch.zeros(channels)
    network.load_state_dict({**network.state_dict(), **own})


def gives_same(network: nn.Module, folded: nn.Module, size: tuple[int, int]) -> bool:
    """Whether both give the same features but for rounding, in eval mode, for noise of (H, W) pixels."""
    pixels = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pairs = list(zip(network(pixels), folded(pixels), strict=True))
    return all(float((a - b).abs().max()) <= _TOLERANCE * float(a.abs().max()) for a, b in pairs)


class ScoringForm(Generic[_Network]):
    """A network as it computes fastest without gradients, made anew whenever the network has changed; in no state.

    make: a copy of a network in this form, from the network and what else `of` is given.
    """

    def __init__(self, make: Callable[..., _Network]) -> None:
        self._make = make
        self._made: _Network | None = None
        self._state: tuple[object, ...] = ()  # of the network that it was made of, and what else it was made by

    def of(self, network: _Network, *more: object) -> _Network:
        """The form of a network in eval mode."""
        held = chain(network.parameters(), network.buffers())
        state = (more, *((t.data_ptr(), 0 if t.is_inference() else t._version) for t in held))
        if self._made is None or state != self._state:
            self._made, self._state = self._make(network, *more), state
        return self._made


def _affine(normalization: nn.BatchNorm2d | nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    assert normalization.running_mean is not None and normalization.running_var is not None
    scale = (normalization.running_var.double() + normalization.eps).rsqrt()
    if normalization.weight is not None:
        scale = scale * normalization.weight
    offset = -normalization.running_mean * scale
    if normalization.bias is not None:
        offset = offset + normalization.bias
    return scale.to(normalization.running_mean.dtype), offset.to(normalization.running_mean.dtype)


def _rest(normalization: nn.BatchNorm2d | nn.BatchNorm3d) -> nn.Module:
    """What a normalization does besides: timm's carry the activation."""
    rest = [part for part in normalization.children() if not isinstance(part, nn.Identity)]
    return rest[0] if len(rest) == 1 else nn.Sequential(*rest)
