"""A baseline that keeps others honest: what moves more than usual between a frame and the one shortly before."""

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
    """Pixels learn how much they change.

    Score: mean of the map. Map: absolute difference of the two frames in standard deviations above its mean on
    normals, 0 where there is less than usual, smoothed; higher = more anomalous.
    """

    name = "frame_difference"
    Options = FrameDifferenceOptions

    @classmethod
    def clip_spec(cls, options: FrameDifferenceOptions) -> ClipSpec:
        """Two frames `lag` seconds apart, of which the later one is scored."""
        return ClipSpec(frames=2, fps=1 / options.lag)

    def embed(self, x: Tensor) -> Tensor:
        """Pixels (N, 1, 2, H, W) -> absolute differences (N, H * W)."""
        return (x[:, :, 1] - x[:, :, 0]).abs().flatten(1)

    def excess(self, deviation: Tensor) -> Tensor:
        """Only what is above the mean: that something rests is no alarm."""
        return deviation.clamp(min=0)
