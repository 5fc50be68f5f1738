"""GANomaly: encoder, decoder, and second encoder against a discriminator."""

from offnormal.detectors.ganomaly.detector import Ganomaly
from offnormal.detectors.ganomaly.options import GanomalyOptions

__all__ = ["Ganomaly", "GanomalyOptions"]
