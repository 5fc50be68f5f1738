"""MNAD: frames predicted or reconstructed through a memory of normal features."""

from offnormal.detectors.mnad.detector import MNAD
from offnormal.detectors.mnad.options import MNADOptions

__all__ = ["MNAD", "MNADOptions"]
