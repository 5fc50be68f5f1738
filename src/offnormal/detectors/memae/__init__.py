"""MemAE: an autoencoder that can only recall normal patterns."""

from offnormal.detectors.memae.detector import MemAE
from offnormal.detectors.memae.options import MemAEOptions

__all__ = ["MemAE", "MemAEOptions"]
