"""Match state dicts of published code with our networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from torch import Tensor, nn

from offnormal.errors import ConfigError, WeightsError

_MAX_NAMES = 4  # most names in a message


def match_state_dict(network: nn.Module, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Convert a state dict of the published code to ours, by name, or by order if no name matches.

    source: its name in messages. Counters of batch normalization may be missing, as in files from before PyTorch 0.4.1.
    Raises WeightsError for missing entries, unknown entries, and entries of another shape.
    """
    expected = network.state_dict()
    state = {name.removeprefix("module."): value for name, value in state.items()}
    if not expected.keys() & state.keys() and len(expected) == len(state):
        state = dict(zip(expected, state.values(), strict=True))
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in expected]
    mismatched = [
        f"{name} is {format_shape(state[name])}, expected {format_shape(expected[name])}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    faults = [
        f"{len(entries)} {fault}: {format_names(entries)}"
        for fault, entries in (("missing", missing), ("unknown", unknown), ("of another shape", mismatched))
        if entries
    ]
    if faults:
        raise WeightsError(f"{source}: {'; '.join(faults)}; these options need {len(expected)} entries")
    return {**expected, **state}


def require_same_options(options: BaseModel, inferred: Mapping[str, object]) -> None:
    """ConfigError if an option was set to another value than the weights have."""
    for name in inferred.keys() & options.model_fields_set:
        if getattr(options, name) != inferred[name]:
            raise ConfigError(f"{name}={getattr(options, name)}: the weights have {inferred[name]}; omit the option")


def format_shape(value: Tensor) -> str:
    """Format a shape for messages."""
    return " x ".join(map(str, value.shape)) or "a number"


def format_names(names: Sequence[str]) -> str:
    """Format the first few names."""
    return ", ".join(names[:_MAX_NAMES]) + (", ..." if len(names) > _MAX_NAMES else "")
