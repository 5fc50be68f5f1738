"""What weights and memory items that MNAD's published code has saved say of the structure of its network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from offnormal.detectors.parts.reference_weights import shape_of, some
from offnormal.errors import WeightsError

NEVER_USED = "encoder.moduleBatchNorm."  # in every state dict of the published code, called by nothing
_FIRST, _LAST = "encoder.moduleConv1.0.weight", "decoder.moduleDeconv1.6.weight"
_QUERY, _UP = "encoder.moduleConv4.3.weight", "decoder.moduleUpsample4.0.weight"


def structure(states: Sequence[Mapping[str, Tensor]]) -> tuple[Mapping[str, Tensor], Tensor, dict[str, int | str]]:
    """Of the network's state dict and one that holds the memory (M, D) alone: both, and the options they are of.

    Raises WeightsError for others.
    """
    networks = [state for state in states if {_FIRST, _LAST, _QUERY, _UP} <= state.keys()]
    memories = [state for state in states if len(state) == 1]
    if (len(networks), len(memories), len(states)) != (1, 1, 2):
        found = "; ".join(some(list(state)) for state in states) or "no file"
        raise WeightsError(
            f"expected the network of MNAD, with names such as {_FIRST}, and its memory items (--items keys.pt), one "
            f"tensor; found {found}"
        )
    state, (items,) = networks[0], memories[0].values()
    width, seen = state[_FIRST].shape[:2]
    channels, length = state[_LAST].shape[0], state[_QUERY].shape[0]
    if items.ndim != 2 or items.shape[1] != length:
        raise WeightsError(f"memory items of {shape_of(items)}: expected some of length {length}, as the weights are")
    predicts = state[_UP].shape[1] < state[_UP].shape[0]
    made = {"method": "pred" if predicts else "recon", "channels": channels, "width": width}
    memory = {"memory_size": items.shape[0], "item_length": length}
    return state, items, {**made, **memory, **({"frames": seen // channels + 1} if predicts else {})}


def memory_of(items: Tensor, own: Tensor) -> Tensor:
    """Items as a detector has them; WeightsError for another number or length."""
    if items.shape != own.shape:
        raise WeightsError(f"memory items of {shape_of(items)}: expected {shape_of(own)}")
    return items
