"""MemAE: an autoencoder that can recall only normal patterns."""

from offnormal.detectors.memae.detector import MemAE
from offnormal.detectors.memae.options import MemAEOptions

__all__ = ["MemAE", "MemAEOptions"]
