"""Infer the structure of MNAD's network from weights and memory items saved by its published code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from offnormal.detectors.parts.reference_weights import format_names, format_shape
from offnormal.errors import WeightsError

NEVER_USED = "encoder.moduleBatchNorm."  # in every state dict of the published code, but never used
Structure = dict[str, int | str]  # options by name
_FIRST, _LAST = "encoder.moduleConv1.0.weight", "decoder.moduleDeconv1.6.weight"
_QUERY, _UP = "encoder.moduleConv4.3.weight", "decoder.moduleUpsample4.0.weight"


def infer_structure(states: Sequence[Mapping[str, Tensor]]) -> tuple[Mapping[str, Tensor], Tensor, Structure]:
    """The network's state dict, the memory (M, D), and the options inferred from them.

    Raises WeightsError for other states.
    """
    networks = [state for state in states if {_FIRST, _LAST, _QUERY, _UP} <= state.keys()]
    memories = [state for state in states if len(state) == 1]
    if (len(networks), len(memories), len(states)) != (1, 1, 2):
        entries = "; ".join(format_names(list(state)) for state in states) or "no file"
        raise WeightsError(
            f"got {entries}: expected the network of MNAD, with names such as {_FIRST}, and its memory "
            "items (--items keys.pt), one tensor"
        )
    state, (items,) = networks[0], memories[0].values()
    width, input_channels = state[_FIRST].shape[:2]
    channels, length = state[_LAST].shape[0], state[_QUERY].shape[0]
    if items.ndim != 2 or items.shape[1] != length:
        raise WeightsError(f"memory items of {format_shape(items)}: expected length {length}, as in the weights")
    predicts = state[_UP].shape[1] < state[_UP].shape[0]
    network = {"method": "pred" if predicts else "recon", "channels": channels, "width": width}
    memory = {"memory_size": items.shape[0], "item_length": length}
    return state, items, {**network, **memory, **({"frames": input_channels // channels + 1} if predicts else {})}


def check_items(items: Tensor, expected: Tensor) -> Tensor:
    """Items, if they have the shape of the detector's; otherwise WeightsError."""
    if items.shape != expected.shape:
        raise WeightsError(f"memory items of {format_shape(items)}: expected {format_shape(expected)}")
    return items
