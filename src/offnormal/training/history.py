"""What a run's log says of its training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from offnormal.run import parse_log_line

_OF_LOOP = ("time", "event", "epoch", "steps", "seconds", "waiting_share", "learning_parameters", "parameters")


@dataclass(slots=True)
class History:
    """Losses over the steps (from 1) of a training; of steps taken anew after a resume the last ones."""

    steps: dict[int, dict[str, dict[str, float | None]]] = field(default_factory=dict)  # step -> optimizer -> losses
    rates: dict[int, dict[str, float]] = field(default_factory=dict)  # step -> learning rate of each optimizer
    validations: dict[int, dict[str, float | None]] = field(default_factory=dict)  # step -> losses
    epochs: dict[int, dict[str, float | None]] = field(default_factory=dict)  # last step -> what is told of it
    best: int | None = None  # step of the lowest validation loss
    resumed: list[int] = field(default_factory=list)  # steps after which it was gone on with


def read_history(log: Path) -> History | None:
    """The training in a log.jsonl; None where there is none."""
    found, last = History(), 0
    for line in map(parse_log_line, log.read_bytes().splitlines() if log.is_file() else ()):
        if line is None:
            continue
        event, step = line.get("event"), line.get("step")
        if event == "epoch" and (told := {name: value for name, value in line.items() if name not in _OF_LOOP}):
            found.epochs[last] = told
        if not isinstance(step, int):
            continue
        if event == "resumed":
            _forget(found, step)
            found.resumed.append(step)
        elif event == "step":
            found.steps[step], found.rates[step], last = line["losses"], line["lr"], step
        elif event == "validation":
            found.validations[step] = line["losses"]
            found.best = step if line["best"] else found.best
    return found if found.steps else None


def _forget(found: History, step: int) -> None:
    """What was logged after the checkpoint that was gone on from."""
    for series in (found.steps, found.rates, found.validations, found.epochs):
        for later in [at for at in series if at > step]:
            del series[later]
    if found.best is not None and found.best > step:
        losses = {at: loss for at, named in found.validations.items() if (loss := named["loss"]) is not None}
        found.best = min(losses, key=lambda at: losses[at], default=None)
