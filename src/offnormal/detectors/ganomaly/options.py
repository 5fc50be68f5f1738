"""Options of GANomaly: those of its paper (arXiv 1805.06725) and published code, and what this version adds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from offnormal.config.model import ADVANCED
from offnormal.detectors.base import Channels, DetectorOptions

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class GanomalyOptions(DetectorOptions):
    """Options of `ganomaly`: the networks, the losses with their weights, and the score."""

    channels: Channels = 3
    """1: gray; 3: color."""
    latent: Annotated[int, Field(ge=1), ADVANCED] = 100
    """Length of the latent vector."""
    width: Annotated[int, Field(ge=1), ADVANCED] = 64
    """Channels after the first convolution; doubled each time the resolution halves."""
    extra_layers: Annotated[int, Field(ge=0), ADVANCED] = 0
    """Extra 3x3 convolutions per network, at half the input resolution."""
    adversarial_weight: Annotated[Weight, ADVANCED] = 1.0
    """Weight of the adversarial loss (feature matching in the discriminator)."""
    contextual_weight: Annotated[Weight, ADVANCED] = 50.0
    """Weight of the contextual loss (input against reconstruction)."""
    latent_weight: Annotated[Weight, ADVANCED] = 1.0
    """Weight of the latent loss (latent vector of the input against that of the reconstruction)."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False), ADVANCED] = 2e-4
    """Learning rate of both Adam optimizers."""
    collapse: Annotated[Weight, ADVANCED] = 1e-5
    """Restart the discriminator when its loss falls below this value; 0: never."""
    score: Literal["auto", "latent", "contextual"] = "auto"
    """Score by distance of latent vectors (paper) or of images (contextual); auto: latent unless clearly worse."""
    distance: Annotated[Literal["l2", "l1"], ADVANCED] = "l2"
    """Distance of latent vectors: mean squared (l2, published code) or mean absolute difference (l1, paper)."""
    sigma: Annotated[float, Field(ge=0, allow_inf_nan=False), ADVANCED] = 1.0
    """Blur of the anomaly map, in input pixels."""
    batch_statistics: Annotated[bool, ADVANCED] = False
    """Score with batch statistics, as the published code does; scores then depend on the batch."""
