"""Options of GANomaly: those of its paper (arXiv 1805.06725) and published code, and what this version adds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from offnormal.detectors.base import Channels, DetectorOptions

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class GanomalyOptions(DetectorOptions):
    """The networks, the losses with their weights, and what counts as the score."""

    channels: Channels = 3
    """1: pictures are looked at in grey; 3: in colour."""
    latent: Annotated[int, Field(ge=1)] = 100
    """Length of the latent vector."""
    width: Annotated[int, Field(ge=1)] = 64
    """Channels after the first convolution; they double whenever the sides halve."""
    extra_layers: Annotated[int, Field(ge=0)] = 0
    """3 x 3 convolutions added to each network at half the input's size."""
    adversarial_weight: Weight = 1.0
    """Of the adversarial loss: the discriminator's features of a picture and of its reconstruction are to agree."""
    contextual_weight: Weight = 50.0
    """Of the contextual loss: picture and reconstruction are to agree."""
    latent_weight: Weight = 1.0
    """Of the latent loss: the latent vectors of picture and reconstruction are to agree."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2e-4
    """Of both Adam optimisers."""
    collapse: Weight = 1e-5
    """A discriminator whose loss falls below it no longer teaches anything and starts anew; 0: never."""
    score: Literal["auto", "latent", "contextual"] = "auto"
    """latent: distance of latent vectors (paper); contextual: of pictures; auto: latent unless it is clearly worse."""
    distance: Literal["l2", "l1"] = "l2"
    """Of the latent vectors: l2: mean squared difference (published code); l1: mean absolute difference (paper)."""
    sigma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Blur of the anomaly map in input pixels."""
    batch_statistics: bool = False
    """Score as the published code does, by statistics of the batch: a score then depends on the others in it."""
