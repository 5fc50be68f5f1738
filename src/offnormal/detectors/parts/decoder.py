"""Decoders that restore exactly the input size of an encoder, for any size.

A transposed convolution with odd kernel k, padding (k - 1) / 2, stride s, and output padding p < s turns L' positions
into (L' - 1) s + 1 + p. The matching convolution turned L positions into L' = ceil(L / s), so that p = (L - 1) mod s
restores L on every axis, including odd sizes.
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

Size = tuple[int, ...]  # one value per axis
_KERNEL = 3
_NARROWEST = 96  # minimum channels, as after MemAE's first convolution
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, slots=True)
class Block:
    """Output and settings of one transposed convolution."""

    channels: int
    reads: Size  # input size; inputs of other sizes are resized to it
    size: Size
    kernel: Size
    stride: Size
    output_padding: Size


class Decoder(nn.Sequential):
    """Blocks of transposed convolution, batch normalization, and LeakyReLU, deepest first; the last is linear.

    One block reverses each halving between two stages of the encoder, with the encoder's strides. Sizes are passed with
    each code.
    """

    def __init__(
        self, encoder: Encoder, channels: int, widths: Sequence[int] | None = None, *, slope: float = 0.2
    ) -> None:
        """Decode the code of an encoder to `channels`.

        widths: channels after each block except the last; default: halved each time, down to 96. slope: of LeakyReLU; 0
        for ReLU. Raises ConfigError if the stride of a stage is not a multiple of the one before.
        """
        super().__init__()
        axes = len(next(iter(encoder.strides.values())))
        self.mode = _MODES[axes]
        strides = [(1,) * axes, *encoder.strides.values()]
        self.stages = [_block_strides(*pair) for pair in pairwise(strides)]  # block strides per stage, deepest first
        blocks = [factor for factors in reversed(self.stages) for factor in factors]
        if not blocks:
            raise ConfigError(f"encoder strides {strides[1:]}: expected a stride above 1")
        channels_in = list(encoder.channels.values())[-1]
        if widths is None:
            widths = _halve_channels(channels_in, len(blocks) - 1)
        if len(widths) != len(blocks) - 1:
            raise ConfigError(
                f"{len(widths)} widths for {len(blocks)} blocks: expected one for each block except the last"
            )
        convolution = _TRANSPOSED[axes - 1]
        normalization = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1]
        layers: list[nn.Module] = []
        for stride, width in zip_longest(blocks, widths, fillvalue=channels):
            assert isinstance(stride, tuple) and isinstance(width, int)
            kernel = tuple(max(_KERNEL, s + 1 - s % 2) for s in stride)  # odd, and wide enough to leave no holes
            layers.append(convolution(channels_in, width, kernel, stride, tuple(k // 2 for k in kernel)))  # type: ignore[arg-type]
            layers += [normalization(width), nn.LeakyReLU(slope, inplace=True)]
            channels_in = width
        self.extend(layers[:-2])

    def forward(self, code: Tensor, sizes: Sequence[Size]) -> Tensor:  # type: ignore[override]
        """Code (N, C, ...) -> (N, channels, *sizes[0]); sizes: of the input and of every stage before the code."""
        x, remaining = code, iter(self._targets(sizes))
        for layer in self:
            if isinstance(layer, _TRANSPOSED):
                target = next(remaining)
                before = _input_size(target, layer)
                if x.shape[2:] != before:  # for example after pooling that drops an odd last position
                    x = F.interpolate(x, before, mode=self.mode)
                x = layer(x, output_size=list(target))
            else:
                x = layer(x)
        return x

    def blocks(self, sizes: Sequence[Size]) -> list[Block]:
        """Blocks, deepest first, for these sizes of the input and of every stage before the code."""
        layers = [layer for layer in self if isinstance(layer, _TRANSPOSED)]
        return [
            Block(
                layer.out_channels,
                _input_size(target, layer),
                target,
                tuple(layer.kernel_size),
                tuple(layer.stride),
                tuple((n - 1) % s for n, s in zip(target, layer.stride, strict=True)),
            )
            for layer, target in zip(layers, self._targets(sizes), strict=True)
        ]

    def _targets(self, sizes: Sequence[Size]) -> list[Size]:
        """Output size of each block."""
        return [
            target
            for size, factors in zip(reversed(sizes), reversed(self.stages), strict=True)
            for target in _block_sizes(size, factors)
        ]


def decode(decoder: Decoder, code: Tensor, stages: dict[str, Tensor], x: Tensor) -> Tensor:
    """Decode another code than that of the encoder; `stages` are the encoder's features of `x`."""
    sizes = [tuple(features.shape[2:]) for features in (x, *stages.values())]
    output: Tensor = decoder(code, sizes[:-1])
    return output


def check_sizes(encoder: Encoder, decoder: Decoder, shape: Sequence[int]) -> None:
    """ConfigError unless encoder and decoder restore inputs of a shape (C, ...), and inputs one position larger.

    Nothing is computed, and neither module changes.
    """

    def round_trip(x: Tensor) -> Tensor:
        stages = encoder(x)
        channels = {name: features.shape[1] for name, features in stages.items()}
        if channels != encoder.channels:  # a dry run does not notice this
            raise ValueError(f"the stages of the encoder have channels {channels}, but it declares {encoder.channels}")
        return decode(decoder, list(stages.values())[-1], stages, x)

    for size in (tuple(shape[1:]), tuple(n + 1 for n in shape[1:])):
        expected = (1, shape[0], *size)
        try:
            output = tuple(dry_run(nn.ModuleList([encoder, decoder]), round_trip, expected).shape)
        except (RuntimeError, ValueError, StopIteration) as error:
            raise ConfigError(
                f"input of {_format_size(size)}: encoder and decoder do not accept it ({error}); choose another "
                "size, or an encoder that declares the channels and strides of its stages"
            ) from None
        if output != expected:
            raise ConfigError(
                f"input of {_format_size(size)}: the decoder returns {_format_size(output[2:])} with channels="
                f"{output[1]}, expected the same size with channels={shape[0]}; the encoder must declare the channels "
                "and strides of its stages"
            )


def _block_strides(before: Size, after: Size) -> list[Size]:
    """Strides of the blocks between two stages, deepest first.

    Time, the first of three axes, is upsampled in the deepest blocks, where that costs least; other axes in the last.
    """
    if any(b % a for a, b in zip(before, after, strict=True)):
        raise ConfigError(f"strides {before}, then {after}: expected multiples of the strides of the previous stage")
    each = [_prime_factors(b // a) for a, b in zip(before, after, strict=True)]
    blocks = max(map(len, each))
    time_first = len(before) == 3
    padded = [
        primes + [1] * (blocks - len(primes)) if axis == 0 and time_first else [1] * (blocks - len(primes)) + primes
        for axis, primes in enumerate(each)
    ]
    return list(zip(*padded, strict=True))


def _prime_factors(number: int) -> list[int]:
    """Prime factors, the largest first.

    >>> _prime_factors(12), _prime_factors(1)
    ([3, 2, 2], [])
    """
    factors, prime = [], 2
    while number > 1:
        if number % prime:
            prime += 1
        else:
            factors.append(prime)
            number //= prime
    return factors[::-1]


def _block_sizes(size: Size, factors: Sequence[Size]) -> list[Size]:
    """Sizes after each block of a stage, deepest first; the last is `size`."""
    sizes = [size]
    for factor in reversed(factors[1:]):
        sizes.append(tuple(_ceil_divide(n, s) for n, s in zip(sizes[-1], factor, strict=True)))
    return sizes[::-1] if factors else []


def _input_size(target: Size, layer: nn.Module) -> Size:
    """Input size from which a transposed convolution produces the target size."""
    return tuple(_ceil_divide(n, s) for n, s in zip(target, layer.stride, strict=True))  # type: ignore[arg-type]


def _halve_channels(channels: int, count: int) -> list[int]:
    widths = []
    for _ in range(count):
        channels = max(min(channels, _NARROWEST), channels // 2)
        widths.append(channels)
    return widths


def _ceil_divide(number: int, divisor: int) -> int:
    return math.ceil(number / divisor)


def _format_size(size: Size) -> str:
    return "x".join(map(str, size))
