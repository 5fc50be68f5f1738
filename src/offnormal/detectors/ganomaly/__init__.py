"""GANomaly: encoder, decoder, encoder against a discriminator."""

from offnormal.detectors.ganomaly.detector import Ganomaly
from offnormal.detectors.ganomaly.options import GanomalyOptions

__all__ = ["Ganomaly", "GanomalyOptions"]
