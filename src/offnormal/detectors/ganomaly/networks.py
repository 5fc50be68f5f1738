"""The networks of GANomaly (Akcay et al., ACCV 2018, arXiv 1805.06725), as in its published code.

Source: samet-akcay/ganomaly, lib/networks.py. Modules have the same names, so that its weights load by name. No
convolution has a bias. Weights are initialized as in DCGAN (Radford et al., arXiv 1511.06434, section 3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from offnormal.errors import ConfigError

SMALLEST = 16  # pixels a side: 4 x 4 after the first convolution and one more
_BOTTOM = 4  # pixels a side of the last features, which one 4 x 4 convolution turns into the latent vector
_SLOPE = 0.2  # of LeakyReLU
Layers = list[tuple[str, nn.Module]]  # with their names in the published code
_DEVIATION = 0.02  # of weights at the start


def _check_size(size: int) -> None:
    """ConfigError with the nearest sizes, unless the networks support images of size x size pixels."""
    power = max(SMALLEST, 1 << (max(size, 1).bit_length() - 1))  # not above the size, if possible
    if size == power:
        return
    near = sorted({power, 2 * power} if size > power else {power}, key=lambda side: abs(side - size))
    raise ConfigError(
        f"input of {size}x{size} pixels: ganomaly expects a square with a side that is a power of two, at least "
        f"{SMALLEST}; the nearest is {' or '.join(map(str, near))}"
    )


def _count_halvings(size: int) -> int:
    """Number of halvings between half the image size and 4 x 4 features."""
    return (size // (2 * _BOTTOM)).bit_length() - 1


def _encoder_layers(size: int, latent: int, channels: int, width: int, extra_layers: int) -> Layers:
    """Images (N, channels, size, size) -> (N, latent, 1, 1), layer by layer; the last is linear."""
    layers: Layers = [
        (f"initial-conv-{channels}-{width}", nn.Conv2d(channels, width, 4, 2, 1, bias=False)),
        (f"initial-relu-{width}", nn.LeakyReLU(_SLOPE, inplace=True)),
    ]
    for i in range(extra_layers):
        layers += [
            (f"extra-layers-{i}-{width}-conv", nn.Conv2d(width, width, 3, 1, 1, bias=False)),
            (f"extra-layers-{i}-{width}-batchnorm", nn.BatchNorm2d(width)),
            (f"extra-layers-{i}-{width}-relu", nn.LeakyReLU(_SLOPE, inplace=True)),
        ]
    before = width
    for _ in range(_count_halvings(size)):
        layers += [
            (f"pyramid-{before}-{2 * before}-conv", nn.Conv2d(before, 2 * before, 4, 2, 1, bias=False)),
            (f"pyramid-{2 * before}-batchnorm", nn.BatchNorm2d(2 * before)),
            (f"pyramid-{2 * before}-relu", nn.LeakyReLU(_SLOPE, inplace=True)),
        ]
        before *= 2
    return [*layers, (f"final-{before}-1-conv", nn.Conv2d(before, latent, _BOTTOM, 1, 0, bias=False))]


def _decoder_layers(size: int, latent: int, channels: int, width: int, extra_layers: int) -> Layers:
    """Latent vectors (N, latent, 1, 1) -> images (N, channels, size, size) in [-1, 1], layer by layer."""
    before = width << _count_halvings(size)
    layers: Layers = [
        (f"initial-{latent}-{before}-convt", nn.ConvTranspose2d(latent, before, _BOTTOM, 1, 0, bias=False)),
        (f"initial-{before}-batchnorm", nn.BatchNorm2d(before)),
        (f"initial-{before}-relu", nn.ReLU(inplace=True)),
    ]
    while before > width:
        layers += [
            (f"pyramid-{before}-{before // 2}-convt", nn.ConvTranspose2d(before, before // 2, 4, 2, 1, bias=False)),
            (f"pyramid-{before // 2}-batchnorm", nn.BatchNorm2d(before // 2)),
            (f"pyramid-{before // 2}-relu", nn.ReLU(inplace=True)),
        ]
        before //= 2
    for i in range(extra_layers):
        layers += [
            (f"extra-layers-{i}-{width}-conv", nn.Conv2d(width, width, 3, 1, 1, bias=False)),
            (f"extra-layers-{i}-{width}-batchnorm", nn.BatchNorm2d(width)),
            (f"extra-layers-{i}-{width}-relu", nn.ReLU(inplace=True)),
        ]
    return [
        *layers,
        (f"final-{width}-{channels}-convt", nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False)),
        (f"final-{channels}-tanh", nn.Tanh()),
    ]


class _Stack(nn.Module):
    """A sequence of layers, named `main` as in the published code."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.main = nn.Sequential()
        for name, layer in layers:
            self.main.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.main(x)
        return features


class Generator(nn.Module):
    """Encoder, decoder, and a second encoder with separate weights (paper, section 3.1)."""

    def __init__(self, size: int, channels: int, latent: int, width: int, extra_layers: int) -> None:
        super().__init__()
        _check_size(size)
        self.encoder1 = _Stack(_encoder_layers(size, latent, channels, width, extra_layers))
        self.decoder = _Stack(_decoder_layers(size, latent, channels, width, extra_layers))
        self.encoder2 = _Stack(_encoder_layers(size, latent, channels, width, extra_layers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (N, C, S, S) in [-1, 1] -> reconstructions, and both latent vectors (N, latent, 1, 1)."""
        z = self.encoder1(x)
        x_hat = self.decoder(z)
        return x_hat, z, self.encoder2(x_hat)


class Discriminator(nn.Module):
    """An encoder to one number; the features before its last convolution are compared."""

    def __init__(self, size: int, channels: int, width: int, extra_layers: int) -> None:
        super().__init__()
        _check_size(size)
        *features, (_, last) = _encoder_layers(size, 1, channels, width, extra_layers)
        self.features = nn.Sequential(*(layer for _, layer in features))
        self.classifier = nn.Sequential(last)

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, S, S) in [-1, 1] -> log-odds (N,) of being real, and features (N, W, 4, 4)."""
        features = self.features(x)
        return self.classifier(features).flatten(), features

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, S, S) in [-1, 1] -> probability (N,) of being real, and features (N, W, 4, 4)."""
        logits, features = self.logits(x)
        return torch.sigmoid(logits), features


def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Initialize as in DCGAN: convolutions N(0, 0.02), batch normalization N(1, 0.02) without shift; reset statistics.

    The numbers are drawn on the CPU, so that all devices start with the same weights.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            _draw(module.weight, 0.0, generator)
        elif isinstance(module, nn.BatchNorm2d):
            _draw(module.weight, 1.0, generator)
            nn.init.zeros_(module.bias)
            module.reset_running_stats()


@torch.no_grad()
def _draw(weight: Tensor, mean: float, generator: torch.Generator) -> None:
    weight.copy_(torch.randn(weight.shape, generator=generator) * _DEVIATION + mean)
