"""Simple baselines on the pixels of small gray frames."""

from offnormal.detectors.baselines.frame_difference import FrameDifference, FrameDifferenceOptions
from offnormal.detectors.baselines.pixel_gaussian import PixelGaussian, PixelGaussianOptions

__all__ = ["FrameDifference", "FrameDifferenceOptions", "PixelGaussian", "PixelGaussianOptions"]
