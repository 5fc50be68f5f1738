"""Convert weights saved by MemAE's published code to our network, and infer its structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from offnormal.detectors.parts.reference_weights import format_names
from offnormal.errors import WeightsError

_MEMORY = "mem_rep.memory.weight"  # name in the published code


def rename_memory(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the memory in a state dict of the published code; all other names are the same."""
    renamed = {name.removeprefix("module."): value for name, value in state.items()}
    return {"memory" if name == _MEMORY else name: value for name, value in renamed.items()}


def infer_structure(states: Sequence[Mapping[str, Tensor]]) -> dict[str, int | str]:
    """Options inferred from one state dict of the published code; WeightsError for other states."""
    state = rename_memory(states[0]) if len(states) == 1 else {}
    kernel = state.get("encoder.0.weight")
    if kernel is None or kernel.ndim != 5:
        entries = "; ".join(format_names(list(state)) for state in states) or "no file"
        raise WeightsError(
            f"got {entries}: expected one file of MemAE for clips, with names such as encoder.0.weight "
            f"(96 x 1 x 3 x 3 x 3) and {_MEMORY}"
        )
    width, channels = kernel.shape[:2]
    memory = len(state["memory"]) if "memory" in state else 0
    return {"form": "video", "encoder": "plain", "width": width, "channels": channels, "memory_size": memory}
