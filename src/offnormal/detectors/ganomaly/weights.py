"""What weights that GANomaly's published code has saved say of the structure of its networks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from offnormal.detectors.parts.reference_weights import some
from offnormal.errors import WeightsError


def generator_and_discriminator(
    states: Sequence[Mapping[str, Tensor]],
) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor] | None]:
    """Which of one or two state dicts is netG's, and which netD's, if it is there; WeightsError for others."""
    generators = [state for state in states if any(name.startswith("encoder1.") for name in state)]
    discriminators = [state for state in states if any(name.startswith("classifier.") for name in state)]
    if len(generators) != 1 or len(discriminators) != len(states) - 1 or len(states) > 2:
        found = "; ".join(some(list(state)) for state in states) or "no file"
        raise WeightsError(
            "expected netG.pth of GANomaly, with names such as encoder1.main.initial-conv-3-64.weight, and where it is "
            f"there netD.pth, with features.0.weight; found {found}"
        )
    return generators[0], discriminators[0] if discriminators else None


def structure(generator_state: Mapping[str, Tensor]) -> tuple[int, dict[str, int]]:
    """Side in pixels, and channels, latent, width and extra_layers, of the networks that netG's state dict belongs to.

    Raises WeightsError when its first encoder is not one of GANomaly.
    """
    roles = ("initial", "extra", "pyramid", "final")
    found: dict[str, list[tuple[int, ...]]] = {role: [] for role in roles}  # shapes of the convolutions
    for name, value in generator_state.items():
        role = re.match(r"(?:module\.)?encoder1\.main\.([a-z]+)", name)
        if value.ndim == 4 and role is not None and role[1] in found:
            found[role[1]].append(tuple(value.shape))
    if (len(found["initial"]), len(found["final"])) != (1, 1) or not found["pyramid"]:
        raise WeightsError(
            "netG: expected convolutions called initial, pyramid and final in its first encoder, such as "
            f"encoder1.main.initial-conv-3-64.weight; found {some(list(generator_state))}"
        )
    (width, channels, *_), (latent, *_) = found["initial"][0], found["final"][0]
    layers = {"channels": channels, "latent": latent, "width": width, "extra_layers": len(found["extra"])}
    return 8 << len(found["pyramid"]), layers
