"""State dicts that a method's published code has saved, matched with our networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from torch import Tensor, nn

from offnormal.errors import ConfigError, WeightsError

_SHOWN = 4  # names in a message


def matched(network: nn.Module, state: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """A state dict of the published code as one of ours, by names, or where none is known by their order.

    what: its name in messages. Counters of batch normalization may be missing, as in files of PyTorch before 0.4.1.
    Raises WeightsError when entries are missing, unknown or of another shape.
    """
    own = network.state_dict()
    given = {name.removeprefix("module."): value for name, value in state.items()}
    if not own.keys() & given.keys() and len(own) == len(given):
        given = dict(zip(own, given.values(), strict=True))
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    unknown = [name for name in given if name not in own]
    other = [
        f"{name} is {shape_of(given[name])}, expected {shape_of(own[name])}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    faults = [
        f"{len(found)} {kind}: {some(found)}"
        for kind, found in (("missing", missing), ("unknown", unknown), ("of another shape", other))
        if found
    ]
    if faults:
        raise WeightsError(f"{what}: expected {len(own)} entries as these options need them; {'; '.join(faults)}")
    return {**own, **given}


def refuse_other(options: BaseModel, found: Mapping[str, object]) -> None:
    """ConfigError where an option that was set is not what was found in weights."""
    for name in found.keys() & options.model_fields_set:
        if getattr(options, name) != found[name]:
            raise ConfigError(f"{name} {getattr(options, name)}: the weights have {found[name]}; leave it out")


def shape_of(value: Tensor) -> str:
    """As messages say it."""
    return " x ".join(map(str, value.shape)) or "a number"


def some(names: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
