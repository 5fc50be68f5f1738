"""Baseline: unusually strong change between two frames a short time apart."""

from __future__ import annotations

from torch import Tensor

from offnormal.config.fields import PositiveDuration
from offnormal.detectors.baselines.pixel_detector import PixelDetector, PixelOptions
from offnormal.types import ClipSpec


class FrameDifferenceOptions(PixelOptions):
    """Options of `frame_difference`."""

    lag: PositiveDuration = 0.4
    """Time between the two compared frames."""


class FrameDifference(PixelDetector[FrameDifferenceOptions]):
    """Learns how much each pixel usually changes.

    Score: mean of the map. Map: absolute difference of the two frames, in standard deviations above the mean on
    normals, 0 below that mean, smoothed; higher = more anomalous.
    """

    name = "frame_difference"
    Options = FrameDifferenceOptions

    @classmethod
    def clip_spec(cls, options: FrameDifferenceOptions) -> ClipSpec:
        """Two frames `lag` seconds apart; the later one is scored."""
        return ClipSpec(frames=2, fps=1 / options.lag)

    def embed(self, x: Tensor) -> Tensor:
        """Pixels (N, 1, 2, H, W) -> absolute differences (N, H * W)."""
        return (x[:, :, 1] - x[:, :, 0]).abs().flatten(1)

    def excess(self, deviation: Tensor) -> Tensor:
        """Count only changes above the mean: a scene at rest is not anomalous."""
        return deviation.clamp(min=0)
