"""Baseline: every pixel of a small gray frame has its own Gaussian."""

from __future__ import annotations

from torch import Tensor

from offnormal.detectors.baselines.pixel_detector import PixelDetector, PixelOptions


class PixelGaussianOptions(PixelOptions):
    """Options of `pixel_gaussian`."""


class PixelGaussian(PixelDetector[PixelGaussianOptions]):
    """Learns the usual brightness of each pixel.

    Score: mean of the map; up to constants, the negative log-likelihood of the frame if pixels are independent. Map:
    squared standardized deviation, smoothed; higher = more anomalous.
    """

    name = "pixel_gaussian"
    Options = PixelGaussianOptions

    def embed(self, x: Tensor) -> Tensor:
        """Pixels (N, 1, H, W) -> (N, H * W)."""
        return x.flatten(1)

    def excess(self, deviation: Tensor) -> Tensor:
        """Square: twice the drop in log-likelihood that a deviation causes."""
        return deviation.square()
