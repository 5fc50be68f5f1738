"""Folding of batch normalization into the convolution before it, which saves a pass over every feature map.

In evaluation mode, it is a scale and an offset per channel, which the weights and bias of the convolution can absorb.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from offnormal.backbones.base import dry_run

Pairs = list[tuple[str, str]]  # names of a convolution and of the normalization after it
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMALIZATIONS = (nn.BatchNorm2d, nn.BatchNorm3d)
_TOLERANCE = 1e-3  # largest difference after folding, relative to the largest feature
_Network = TypeVar("_Network", bound=nn.Module)


def find_pairs(
    network: nn.Module, size: tuple[int, ...], channels: int = 3, call: Callable[[Tensor], object] | None = None
) -> Pairs:
    """Find convolutions directly followed by a batch normalization, with a dry run.

    size: (H, W) or (T, H, W) of the input; call: function of the network to run instead of `forward`.
    """
    outputs: dict[int, tuple[str, Tensor]] = {}  # with the tensors, so that ids stay unique
    pairs: Pairs = []

    def remember(name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        outputs[id(output)] = (name, output)

    def match(name: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], name))

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
    """Fold each normalization into its convolution and remove it; its activation remains."""
    for convolution_name, name in pairs:
        convolution, normalization = network.get_submodule(convolution_name), network.get_submodule(name)
        assert isinstance(convolution, _CONVOLUTIONS) and isinstance(normalization, _NORMALIZATIONS)
        scale, offset = _affine(normalization)
        bias = torch.zeros_like(offset) if convolution.bias is None else convolution.bias
        weight = convolution.weight  # (out, in, ...), transposed convolutions (in, out, ...)
        axes = [1] * weight.ndim
        axes[1 if convolution.transposed else 0] = -1
        convolution.weight = nn.Parameter(weight * scale.view(axes))
        convolution.bias = nn.Parameter(bias * scale + offset)
        parent, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(parent), leaf, _activation(normalization))


def unfold(network: nn.Module, folded: dict[str, Tensor], pairs: Pairs) -> None:
    """Load the state of a folded network into an unfolded one, with equal output."""
    state = {key: folded[key] for key in network.state_dict() if key in folded}
    for convolution_name, name in pairs:
        normalization = network.get_submodule(name)
        assert isinstance(normalization, nn.BatchNorm2d)
        channels = normalization.num_features
        state[f"{name}.running_mean"] = torch.zeros(channels)
        state[f"{name}.running_var"] = torch.ones(channels) - normalization.eps
        state[f"{name}.weight"] = torch.ones(channels)
        state[f"{name}.bias"] = folded[f"{convolution_name}.bias"]
        if f"{convolution_name}.bias" in state:
            state[f"{convolution_name}.bias"] = torch.zeros(channels)
    network.load_state_dict({**network.state_dict(), **state})


def has_same_output(network: nn.Module, folded: nn.Module, size: tuple[int, int]) -> bool:
    """Whether both networks give equal features within a tolerance, in evaluation mode, for noise of (H, W) pixels."""
    pixels = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pairs = list(zip(network(pixels), folded(pixels), strict=True))
    return all(float((a - b).abs().max()) <= _TOLERANCE * float(a.abs().max()) for a, b in pairs)


class ScoringForm(Generic[_Network]):
    """Cache of a fast copy of a network for scoring, created again after each change of the network; not in any state.

    create: copies a network in this form, with the other arguments of `get`.
    """

    def __init__(self, create: Callable[..., _Network]) -> None:
        self._create = create
        self._form: _Network | None = None
        self._state: tuple[object, ...] = ()  # of the network and the other arguments

    def get(self, network: _Network, *arguments: object) -> _Network:
        """Copy of a network in evaluation mode."""
        tensors = chain(network.parameters(), network.buffers())
        state = (arguments, *((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors))
        if self._form is None or state != self._state:
            self._form, self._state = self._create(network, *arguments), state
        return self._form


def _affine(normalization: nn.BatchNorm2d | nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    assert normalization.running_mean is not None and normalization.running_var is not None
    scale = (normalization.running_var.double() + normalization.eps).rsqrt()
    if normalization.weight is not None:
        scale = scale * normalization.weight
    offset = -normalization.running_mean * scale
    if normalization.bias is not None:
        offset = offset + normalization.bias
    return scale.to(normalization.running_mean.dtype), offset.to(normalization.running_mean.dtype)


def _activation(normalization: nn.BatchNorm2d | nn.BatchNorm3d) -> nn.Module:
    """The activation in a normalization layer of timm, or the identity."""
    activations = [part for part in normalization.children() if not isinstance(part, nn.Identity)]
    return activations[0] if len(activations) == 1 else nn.Sequential(*activations)
