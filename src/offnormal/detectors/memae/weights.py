"""Weights that MemAE's published code has saved -> our network, and what they say of its structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from offnormal.detectors.parts.reference_weights import some
from offnormal.errors import WeightsError

_MEMORY = "mem_rep.memory.weight"  # its name in the published code


def as_ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published code's state dict with our name for the memory; all other names are the same."""
    given = {name.removeprefix("module."): value for name, value in state.items()}
    return {"memory" if name == _MEMORY else name: value for name, value in given.items()}


def structure(states: Sequence[Mapping[str, Tensor]]) -> dict[str, int | str]:
    """Options of the network that one state dict of the published code belongs to; WeightsError for others."""
    state = as_ours(states[0]) if len(states) == 1 else {}
    kernel = state.get("encoder.0.weight")
    if kernel is None or kernel.ndim != 5:
        found = "; ".join(some(list(state)) for state in states) or "no file"
        raise WeightsError(
            "expected one file of MemAE for clips, with names such as encoder.0.weight (96 x 1 x 3 x 3 x 3) and "
            f"{_MEMORY}; found {found}"
        )
    width, channels = kernel.shape[:2]
    memory = len(state["memory"]) if "memory" in state else 0
    return {"form": "video", "encoder": "plain", "width": width, "channels": channels, "memory_size": memory}
