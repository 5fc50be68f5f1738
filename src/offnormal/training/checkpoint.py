"""Checkpoints of a training run: one folder of safetensors and JSON each, replaced atomically.

`last` holds everything that is needed to resume. `best` holds only the detector with the lowest validation loss so far.
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
from offnormal.files import new_file, new_folder, restore_folder, write_text
from offnormal.input_files import load_json, read_text
from offnormal.tensors import write_tensors

FORMAT_VERSION = 2
_FOLDER, _TENSORS, _STATE = "checkpoints", "tensors.safetensors", "state.json"
FILES = (_TENSORS, _STATE)  # data first
CURRENT = f"{_FOLDER}/current.json"  # in an upload: the folder of each checkpoint, since stores cannot rename folders
_DETECTOR, _OPTIMIZER = "detector/", "optimizer/"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Tensors by name, and plain values."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    def detector(self) -> dict[str, Tensor]:
        """Return the state dict of the detector."""
        return _select(self.tensors, _DETECTOR)


def checkpoint_path(run: Path, which: str) -> Path:
    """Return the folder of the checkpoint `last` or `best` of a run."""
    return run / _FOLDER / which


def save(
    run: Path, which: str, detector: Mapping[str, Tensor], state: Mapping[str, object], **optimizers: Optimizer
) -> None:
    """Write a checkpoint atomically.

    Raises FitError if the disk is full or the folder is not writable; the message names the last intact checkpoint.
    """
    tensors = {f"{_DETECTOR}{name}": tensor for name, tensor in detector.items()}
    plain: dict[str, dict[str, object]] = {}
    for name, optimizer in optimizers.items():
        saved = optimizer.state_dict()
        scalars: dict[str, dict[str, object]] = {}
        for number, values in saved["state"].items():
            for key, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"{_OPTIMIZER}{name}/{number}/{key}"] = value
                else:
                    scalars.setdefault(str(number), {})[key] = value
        plain[name] = {"groups": saved["param_groups"], "values": scalars}
    folder = checkpoint_path(run, which)
    try:
        with new_folder(folder) as partial:
            with new_file(partial / _TENSORS) as file:
                write_tensors(file, tensors)
            values = {"format_version": FORMAT_VERSION, **state, "optimizers": plain}
            write_text(partial / _STATE, json.dumps(values, indent=1) + "\n")
    except OffnormalError as error:
        before = last_step(run)
        intact = "There is no earlier checkpoint" if before is None else f"The checkpoint of step {before} is intact"
        raise FitError(f"{error}. {intact}. Solve this, then continue with --resume {run}") from None


def load(run: Path, which: str = "last") -> Checkpoint:
    """Read a checkpoint of a run.

    Raises ConfigError if there is none, and DataError if it is damaged.
    """
    folder = checkpoint_path(run, which)
    restore_folder(folder)
    if not folder.exists():
        if (moved := _find_moved(run, which)) is None:
            raise ConfigError(
                f"{folder}: no checkpoint found; a finished run has none. Start a new fit without --resume"
            )
        moved.replace(folder)
    try:
        state = load_json(read_text(folder / _STATE))
        if state["format_version"] != FORMAT_VERSION:
            raise ConfigError(
                f"{folder}: checkpoint format {state['format_version']} found, {FORMAT_VERSION} expected; resume with "
                "the version of offnormal that wrote it"
            )
        return Checkpoint(load_file(folder / _TENSORS), state)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(f"{folder}: damaged checkpoint ({error}); start a new fit") from None


def _find_moved(run: Path, which: str) -> Path | None:
    """Find a checkpoint under another name: copied back from an upload."""
    folder = checkpoint_path(run, which).parent
    try:
        named = folder / load_json(read_text(run / CURRENT))[which]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return named if named.is_dir() and named.parent == folder else None


def load_optimizer(optimizer: Optimizer, name: str, checkpoint: Checkpoint) -> None:
    """Restore the state of an optimizer, in the memory layout of its parameters, which fused optimizers require."""
    plain = checkpoint.state["optimizers"][name]
    state: dict[int, dict[str, object]] = {int(number): dict(values) for number, values in plain["values"].items()}
    for key, tensor in _select(checkpoint.tensors, f"{_OPTIMIZER}{name}/").items():
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
    """Return the step of the checkpoint `last`, or None if there is none."""
    try:
        return int(load_json(read_text(checkpoint_path(run, "last") / _STATE))["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove(run: Path) -> None:
    """Remove the checkpoints of a run."""
    shutil.rmtree(run / _FOLDER, ignore_errors=True)


def list_differences(saved: Mapping[str, object], current: Mapping[str, object], prefix: str = "") -> list[str]:
    """List the differences between two nested mappings of plain values, each as `name: saved value -> current`."""
    lines: list[str] = []
    for key in dict.fromkeys((*saved, *current)):
        before, after = saved.get(key), current.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += list_differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before} -> {after}")
    return lines


def _select(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
