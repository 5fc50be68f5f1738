"""Weights that GANomaly's published code has saved -> our networks, and what they say of the networks' structure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from offnormal.errors import WeightsError

_SHOWN = 4  # names in a message


def matched(network: nn.Module, state: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """A state dict of the published code as one of ours, by names, or where none is known by their order.

    what: its name in messages. Counters of batch normalisation may be missing, as in files of PyTorch before 0.4.1.
    Raises WeightsError when entries are missing, unknown or of another shape.
    """
    own = network.state_dict()
    given = {name.removeprefix("module."): value for name, value in state.items()}
    if not own.keys() & given.keys() and len(own) == len(given):
        given = dict(zip(own, given.values(), strict=True))
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    unknown = [name for name in given if name not in own]
    other = [
        f"{name} is {_shape(given[name])}, expected {_shape(own[name])}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    faults = [
        f"{len(found)} {kind}: {_some(found)}"
        for kind, found in (("missing", missing), ("unknown", unknown), ("of another shape", other))
        if found
    ]
    if faults:
        raise WeightsError(
            f"{what}: expected {len(own)} entries as this size, latent length, width and number of layers need them; "
            f"{'; '.join(faults)}"
        )
    return {**own, **given}


def generator_and_discriminator(
    states: Sequence[Mapping[str, Tensor]],
) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor] | None]:
    """Which of one or two state dicts is netG's, and which netD's, if it is there; WeightsError for others."""
    generators = [state for state in states if any(name.startswith("encoder1.") for name in state)]
    discriminators = [state for state in states if any(name.startswith("classifier.") for name in state)]
    if len(generators) != 1 or len(discriminators) != len(states) - 1 or len(states) > 2:
        found = "; ".join(_some(list(state)) for state in states) or "no file"
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
            f"encoder1.main.initial-conv-3-64.weight; found {_some(list(generator_state))}"
        )
    (width, channels, *_), (latent, *_) = found["initial"][0], found["final"][0]
    layers = {"channels": channels, "latent": latent, "width": width, "extra_layers": len(found["extra"])}
    return 8 << len(found["pyramid"]), layers


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "a number"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
