"""PaDiM: a Gaussian of pretrained features at every position."""

from offnormal.detectors.padim.detector import Padim
from offnormal.detectors.padim.options import PadimOptions
from offnormal.detectors.parts.maps import concat_features, smooth

__all__ = ["Padim", "PadimOptions", "concat_features", "smooth"]
