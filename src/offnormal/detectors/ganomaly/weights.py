"""Infer the structure of the networks from weights saved by GANomaly's published code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from offnormal.detectors.parts.reference_weights import format_names
from offnormal.errors import WeightsError


def split_states(
    states: Sequence[Mapping[str, Tensor]],
) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor] | None]:
    """Find netG's state dict, and netD's if given, among one or two; WeightsError for others."""
    generators = [state for state in states if any(name.startswith("encoder1.") for name in state)]
    discriminators = [state for state in states if any(name.startswith("classifier.") for name in state)]
    if len(generators) != 1 or len(discriminators) != len(states) - 1 or len(states) > 2:
        entries = "; ".join(format_names(list(state)) for state in states) or "no file"
        raise WeightsError(
            f"got {entries}: expected netG.pth of GANomaly, with names such as "
            "encoder1.main.initial-conv-3-64.weight, and optionally netD.pth, with features.0.weight"
        )
    return generators[0], discriminators[0] if discriminators else None


def infer_structure(generator_state: Mapping[str, Tensor]) -> tuple[int, dict[str, int]]:
    """Side in pixels, and channels, latent, width, and extra_layers, inferred from netG's state dict.

    Raises WeightsError if its first encoder is not that of GANomaly.
    """
    roles = ("initial", "extra", "pyramid", "final")
    shapes: dict[str, list[tuple[int, ...]]] = {role: [] for role in roles}  # of the convolutions
    for name, value in generator_state.items():
        role = re.match(r"(?:module\.)?encoder1\.main\.([a-z]+)", name)
        if value.ndim == 4 and role is not None and role[1] in shapes:
            shapes[role[1]].append(tuple(value.shape))
    if (len(shapes["initial"]), len(shapes["final"])) != (1, 1) or not shapes["pyramid"]:
        raise WeightsError(
            f"netG with {format_names(list(generator_state))}: expected convolutions named initial, pyramid, and final "
            "in its first encoder, such as encoder1.main.initial-conv-3-64.weight"
        )
    (width, channels, *_), (latent, *_) = shapes["initial"][0], shapes["final"][0]
    layers = {"channels": channels, "latent": latent, "width": width, "extra_layers": len(shapes["extra"])}
    return 8 << len(shapes["pyramid"]), layers
