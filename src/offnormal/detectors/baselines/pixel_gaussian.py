"""A baseline that keeps others honest: every pixel of a small gray frame is a Gaussian of its own."""

from __future__ import annotations

from torch import Tensor

from offnormal.detectors.baselines.pixel_detector import PixelDetector, PixelOptions


class PixelGaussianOptions(PixelOptions):
    """Options of `pixel_gaussian`."""


class PixelGaussian(PixelDetector[PixelGaussianOptions]):
    """Pixels learn how bright they are.

    Score: mean of the map, which but for constants is minus the logarithm of the frame's likelihood when pixels are
    independent. Map: squared standardized deviation, smoothed; higher = more anomalous.
    """

    name = "pixel_gaussian"
    Options = PixelGaussianOptions

    def embed(self, x: Tensor) -> Tensor:
        """Pixels (N, 1, H, W) -> (N, H * W)."""
        return x.flatten(1)

    def excess(self, deviation: Tensor) -> Tensor:
        """Squared: twice what a deviation takes from the logarithm of the likelihood."""
        return deviation.square()
