"""The history of a training run, read from its log."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from offnormal.run import parse_log_line

_LOOP_KEYS = ("time", "event", "epoch", "steps", "seconds", "waiting_share", "learning_parameters", "parameters")


@dataclass(slots=True)
class History:
    """Values by step (from 1); steps that were repeated after a resume have their last values."""

    steps: dict[int, dict[str, dict[str, float | None]]] = field(default_factory=dict)  # step -> optimizer -> losses
    rates: dict[int, dict[str, float]] = field(default_factory=dict)  # step -> learning rate of each optimizer
    validations: dict[int, dict[str, float | None]] = field(default_factory=dict)  # step -> losses
    epochs: dict[int, dict[str, float | None]] = field(default_factory=dict)  # last step -> values of the detector
    best: int | None = None  # step of the lowest validation loss
    resumed: list[int] = field(default_factory=list)  # steps from which training continued


def read_history(log: Path) -> History | None:
    """Read the history from a log.jsonl; None if there is no training in it."""
    history, last = History(), 0
    for line in map(parse_log_line, log.read_bytes().splitlines() if log.is_file() else ()):
        if line is None:
            continue
        event, step = line.get("event"), line.get("step")
        if event == "epoch":
            numbers = {name: value for name, value in line.items() if value is None or isinstance(value, int | float)}
            if values := {name: value for name, value in numbers.items() if name not in _LOOP_KEYS}:
                history.epochs[last] = values
        if not isinstance(step, int):
            continue
        if event == "resumed":
            _drop_after(history, step)
            history.resumed.append(step)
        elif event == "step":
            history.steps[step], history.rates[step], last = line["losses"], line["lr"], step
        elif event == "validation":
            history.validations[step] = line["losses"]
            history.best = step if line["best"] else history.best
    return history if history.steps else None


def _drop_after(history: History, step: int) -> None:
    """Drop everything that was logged after the checkpoint from which training continued."""
    for series in (history.steps, history.rates, history.validations, history.epochs):
        for later in [logged for logged in series if logged > step]:
            del series[later]
    if history.best is not None and history.best > step:
        losses = {
            logged: loss for logged, named in history.validations.items() if (loss := named.get("loss")) is not None
        }
        history.best = min(losses, key=lambda logged: losses[logged], default=None)
