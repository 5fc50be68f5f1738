"""Decoders that bring an encoder's code back to exactly the size of what was encoded, whatever that is.

A transposed convolution of odd kernel k, padding (k - 1) / 2 and stride s makes (L' - 1) s + 1 + p of L' positions, p
its output padding, below s. A convolution of the same numbers made L' = ceil(L / s) of L positions, so that
p = (L - 1) mod s gives L back: on every axis, odd sizes included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

import torch.nn.functional as F
from torch import Tensor, nn

from offnormal.backbones.base import Encoder, dry_run
from offnormal.errors import ConfigError

Size = tuple[int, ...]  # of every axis
_KERNEL = 3
_NARROWEST = 96  # channels that halving stops at: those after MemAE's first convolution
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, slots=True)
class Block:
    """What one transposed convolution makes, and by which numbers."""

    channels: int
    reads: Size  # positions that it takes; what comes in other sizes is resized to it
    size: Size
    kernel: Size
    stride: Size
    output_padding: Size


class Decoder(nn.Sequential):
    """Blocks of transposed convolution, batch normalization and LeakyReLU, deepest first; the last has neither.

    There is one block for each halving between two stages of the encoder. Strides are those of the encoder, sizes are
    given with each code.
    """

    def __init__(
        self, encoder: Encoder, channels: int, widths: Sequence[int] | None = None, *, slope: float = 0.2
    ) -> None:
        """From the code of an encoder to `channels`.

        widths: channels after each block but the last, by default halved from one to the next, down to 96; slope: of
        LeakyReLU, 0 for ReLU. Raises ConfigError for strides that do not follow from each other.
        """
        super().__init__()
        axes = len(next(iter(encoder.strides.values())))
        self.mode = _MODES[axes]
        strides = [(1,) * axes, *encoder.strides.values()]
        self.stages = [_factors(*pair) for pair in pairwise(strides)]  # strides of the blocks of each, deepest first
        blocks = [factor for factors in reversed(self.stages) for factor in factors]
        if not blocks:
            raise ConfigError(f"an encoder of strides {strides[1:]}: there is nothing to decode")
        here = list(encoder.channels.values())[-1]
        if widths is None:
            widths = _halved(here, len(blocks) - 1)
        if len(widths) != len(blocks) - 1:
            raise ConfigError(
                f"{len(widths)} widths for {len(blocks)} blocks: expected one for each block but the last"
            )
        convolution = _TRANSPOSED[axes - 1]
        normalization = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1]
        layers: list[nn.Module] = []
        for stride, width in zip_longest(blocks, widths, fillvalue=channels):
            assert isinstance(stride, tuple) and isinstance(width, int)
            kernel = tuple(max(_KERNEL, s + 1 - s % 2) for s in stride)  # odd, and no holes between what it spreads
            layers.append(convolution(here, width, kernel, stride, tuple(k // 2 for k in kernel)))  # type: ignore[arg-type]
            layers += [normalization(width), nn.LeakyReLU(slope, inplace=True)]
            here = width
        self.extend(layers[:-2])

    def forward(self, code: Tensor, sizes: Sequence[Size]) -> Tensor:  # type: ignore[override]
        """Code (N, C, ...) -> (N, channels, *sizes[0]); sizes: of what went in and of every stage before the code."""
        x, remaining = code, iter(self._targets(sizes))
        for layer in self:
            if isinstance(layer, _TRANSPOSED):
                target = next(remaining)
                before = _before(target, layer)
                if x.shape[2:] != before:  # made by another rule, such as pooling without its last odd position
                    x = F.interpolate(x, before, mode=self.mode)
                x = layer(x, output_size=list(target))
            else:
                x = layer(x)
        return x

    def blocks(self, sizes: Sequence[Size]) -> list[Block]:
        """Its blocks, deepest first, for what went in and every stage before the code of these sizes."""
        layers = [layer for layer in self if isinstance(layer, _TRANSPOSED)]
        return [
            Block(
                layer.out_channels,
                _before(target, layer),
                target,
                tuple(layer.kernel_size),
                tuple(layer.stride),
                tuple((n - 1) % s for n, s in zip(target, layer.stride, strict=True)),
            )
            for layer, target in zip(layers, self._targets(sizes), strict=True)
        ]

    def _targets(self, sizes: Sequence[Size]) -> list[Size]:
        """What each block brings its input to."""
        return [
            target
            for size, factors in zip(reversed(sizes), reversed(self.stages), strict=True)
            for target in _steps(size, factors)
        ]


def decode(decoder: Decoder, code: Tensor, stages: dict[str, Tensor], x: Tensor) -> Tensor:
    """What a decoder makes of a code in place of that of an encoder, which has made `stages` of `x`."""
    sizes = [tuple(features.shape[2:]) for features in (x, *stages.values())]
    made: Tensor = decoder(code, sizes[:-1])
    return made


def check_sizes(encoder: Encoder, decoder: Decoder, shape: Sequence[int]) -> None:
    """ConfigError unless encoder and decoder bring inputs of a shape (C, ...) back, and those a position larger.

    Nothing is computed, and nothing changes in either of them.
    """

    def through(x: Tensor) -> Tensor:
        stages = encoder(x)
        found = {name: features.shape[1] for name, features in stages.items()}
        if found != encoder.channels:  # which is not noticed where nothing is computed
            raise ValueError(f"its stages have {found} channels and say {encoder.channels}")
        return decode(decoder, list(stages.values())[-1], stages, x)

    for size in (tuple(shape[1:]), tuple(n + 1 for n in shape[1:])):
        expected = (1, shape[0], *size)
        try:
            made = tuple(dry_run(nn.ModuleList([encoder, decoder]), through, expected).shape)
        except (RuntimeError, ValueError, StopIteration) as error:
            raise ConfigError(
                f"an input of {_times(size)}: encoder and decoder cannot take it ({error}); choose another size, or an "
                "encoder whose channels and strides are those of its stages"
            ) from None
        if made != expected:
            raise ConfigError(
                f"an input of {_times(size)} comes back as {_times(made[2:])} with {made[1]} channel(s): expected the "
                f"same size and {shape[0]}; the stages of the encoder must be named with their channels and strides"
            )


def _factors(before: Size, after: Size) -> list[Size]:
    """Strides of the blocks between two stages with these strides, deepest first.

    Time, the first of three axes, is spread out in the deepest blocks, where that costs least, all other axes in the
    last ones.
    """
    if any(b % a for a, b in zip(before, after, strict=True)):
        raise ConfigError(f"strides {before} and then {after}: expected whole multiples of those of the stage before")
    each = [_primes(b // a) for a, b in zip(before, after, strict=True)]
    blocks = max(map(len, each))
    time_first = len(before) == 3
    padded = [
        primes + [1] * (blocks - len(primes)) if axis == 0 and time_first else [1] * (blocks - len(primes)) + primes
        for axis, primes in enumerate(each)
    ]
    return list(zip(*padded, strict=True))


def _primes(number: int) -> list[int]:
    """Prime factors, the largest first.

    >>> _primes(12), _primes(1)
    ([3, 2, 2], [])
    """
    found, prime = [], 2
    while number > 1:
        if number % prime:
            prime += 1
        else:
            found.append(prime)
            number //= prime
    return found[::-1]


def _steps(size: Size, factors: Sequence[Size]) -> list[Size]:
    """Sizes after each of the blocks of a stage, deepest first; the last is `size`."""
    found = [size]
    for factor in reversed(factors[1:]):
        found.append(tuple(_ceil(n, s) for n, s in zip(found[-1], factor, strict=True)))
    return found[::-1] if factors else []


def _before(target: Size, layer: nn.Module) -> Size:
    """The size from which a transposed convolution makes the target."""
    return tuple(_ceil(n, s) for n, s in zip(target, layer.stride, strict=True))  # type: ignore[arg-type]


def _halved(channels: int, count: int) -> list[int]:
    widths = []
    for _ in range(count):
        channels = max(min(channels, _NARROWEST), channels // 2)
        widths.append(channels)
    return widths


def _ceil(number: int, divisor: int) -> int:
    return math.ceil(number / divisor)


def _times(size: Size) -> str:
    return " x ".join(map(str, size))
