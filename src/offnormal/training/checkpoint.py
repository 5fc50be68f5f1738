"""Checkpoints of a training: a folder of safetensors and JSON each, in place of the one before in one step.

`last` is all that going on needs; `best` the detector alone, at the lowest validation loss so far.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer

from offnormal.errors import ConfigError, DataError, FitError, OffnormalError
from offnormal.files import new_folder, write_text
from offnormal.tensors import write_tensors

FORMAT_VERSION = 2
_FOLDER, _TENSORS, _STATE = "checkpoints", "tensors.safetensors", "state.json"
FILES = (_TENSORS, _STATE)  # of a checkpoint
NAMES = f"{_FOLDER}/current.json"  # of an uploaded run: the folder of each checkpoint, since stores cannot replace one
_DETECTOR, _OPTIMIZER = "detector/", "optimizer/"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Tensors by name and plain values."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    def detector(self) -> dict[str, Tensor]:
        """The state of the detector."""
        return _below(self.tensors, _DETECTOR)


def place(run: Path, which: str) -> Path:
    """Where a run keeps its checkpoint `last` or `best`."""
    return run / _FOLDER / which


def save(
    run: Path, which: str, detector: Mapping[str, Tensor], state: Mapping[str, object], **optimizers: Optimizer
) -> None:
    """Write a checkpoint whole or not at all.

    Raises FitError when the disk is full or the place closed, naming what is still there.
    """
    tensors = {f"{_DETECTOR}{name}": tensor for name, tensor in detector.items()}
    plain: dict[str, dict[str, object]] = {}
    for name, optimizer in optimizers.items():
        found = optimizer.state_dict()
        numbers: dict[str, dict[str, object]] = {}
        for number, values in found["state"].items():
            for key, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"{_OPTIMIZER}{name}/{number}/{key}"] = value
                else:
                    numbers.setdefault(str(number), {})[key] = value
        plain[name] = {"groups": found["param_groups"], "values": numbers}
    folder = place(run, which)
    try:
        with new_folder(folder) as partial:
            write_tensors(partial / _TENSORS, tensors)
            values = {"format_version": FORMAT_VERSION, **state, "optimizers": plain}
            write_text(partial / _STATE, json.dumps(values, indent=1) + "\n")
    except OffnormalError as error:
        before = last_step(run)
        kept = "No checkpoint was written before" if before is None else f"The checkpoint of step {before} is intact"
        raise FitError(f"{error}. {kept}; then go on with --resume {run}") from None


def load(run: Path, which: str = "last") -> Checkpoint:
    """Read a checkpoint of a run; ConfigError when there is none, DataError when it is damaged."""
    folder = place(run, which)
    if not folder.exists():
        if (found := _elsewhere(run, which)) is None:
            raise ConfigError(
                f"{run}: no checkpoint to go on from ({folder} is missing); a run that has finished has none"
            )
        found.replace(folder)
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        if state["format_version"] != FORMAT_VERSION:
            raise ConfigError(
                f"{folder}: checkpoint format {state['format_version']}, this version reads {FORMAT_VERSION}; go on "
                "with the version that wrote it"
            )
        return Checkpoint(load_file(folder / _TENSORS), state)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(f"{folder}: damaged checkpoint ({error}); fit anew") from None


def _elsewhere(run: Path, which: str) -> Path | None:
    """A checkpoint under another name: killed while it took its place, or copied back from an upload."""
    folder = place(run, which).parent
    for moved in folder.glob(f".{which}.*.old"):
        return moved
    try:
        named = folder / json.loads((run / NAMES).read_text(encoding="utf-8"))[which]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return named if named.is_dir() and named.parent == folder else None


def load_optimizer(optimizer: Optimizer, name: str, checkpoint: Checkpoint) -> None:
    """Give an optimizer the state that it had, laid out in memory as its parameters are: fused ones rely on it."""
    plain = checkpoint.state["optimizers"][name]
    state: dict[int, dict[str, object]] = {int(number): dict(values) for number, values in plain["values"].items()}
    for key, tensor in _below(checkpoint.tensors, f"{_OPTIMIZER}{name}/").items():
        number, _, inner = key.partition("/")
        state.setdefault(int(number), {})[inner] = tensor
    groups = [
        {key: tuple(value) if isinstance(value, list) and key != "params" else value for key, value in group.items()}
        for group in plain["groups"]
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def last_step(run: Path) -> int | None:
    """The step of the checkpoint `last`; None when there is none."""
    try:
        return int(json.loads((place(run, "last") / _STATE).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove(run: Path) -> None:
    """Remove the checkpoints of a run."""
    shutil.rmtree(run / _FOLDER, ignore_errors=True)


def differences(then: Mapping[str, object], now: Mapping[str, object], within: str = "") -> list[str]:
    """What differs between two nested mappings of plain values, each as `name: then, now`."""
    found = []
    for key in dict.fromkeys((*then, *now)):
        before, after = then.get(key), now.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{within}{key}.")
        elif before != after:
            found.append(f"{within}{key}: {before} then, {after} now")
    return found


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
