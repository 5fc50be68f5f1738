"""Learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from offnormal.training.settings import TrainSettings

_DROPS = (0.5, 0.75)  # shares of the training; He et al., Deep Residual Learning, 2016, section 4.2
_DROP = 0.1  # same source
_PATIENCE = 5  # validations without a lower loss that make a plateau
_PLATEAU = 0.5
_UNFROZEN = 0.1  # of parameters trained before; action_video_autoencoder, configs: StepLR drops when it unfreezes


class Schedule:
    """Sets the learning rates of all optimizers before each step, relative to the first rate of each group.

    A fine-tuning stage has its own schedule: parameters that only it trains (groups with a name under "late") start at
    their full rate, the others at a tenth.
    """

    def __init__(self, settings: TrainSettings, optimizers: Mapping[str, Optimizer]) -> None:
        self.settings = settings
        self.optimizers = optimizers
        groups = {name: optimizer.param_groups for name, optimizer in optimizers.items()}
        self._first = {name: [group["lr"] for group in of_optimizer] for name, of_optimizer in groups.items()}
        self._lowest = math.inf  # validation loss
        self._stale = 0  # validations since the lowest loss or the last reduction
        self._shares = {False: 1.0, True: 1.0}  # of the first rate, after plateaus; True: only trained by fine-tuning

    def set(self, step: int) -> dict[str, float]:
        """Set the rates after `step` steps; return those of the parameters that the next step trains, by name."""
        rates = {}
        for name, optimizer in self.optimizers.items():
            for group, first in zip(optimizer.param_groups, self._first[name], strict=True):
                late_name = group.get("late")
                group["lr"] = first * self.share(step, fine_tuned=late_name is not None)
                if late_name is None or self.settings.is_fine_tuning(step + 1):
                    rates[late_name or name] = group["lr"]
        return rates

    def share(self, step: int, *, fine_tuned: bool = False) -> float:
        """Return the share of the first rate after `step` steps; fine_tuned: for parameters that only then train."""
        settings = self.settings
        start, end, initial = 0, settings.steps, 1.0
        if settings.fine_tuning is not None and settings.fine_tuning.start:
            if settings.is_fine_tuning(step + 1):
                start, initial = settings.fine_tuning.start, 1.0 if fine_tuned else _UNFROZEN
            else:
                end = settings.fine_tuning.start
        done = (step - start) / (end - start)
        if settings.schedule == "step":
            return max(settings.floor, initial * _DROP ** sum(done >= drop for drop in _DROPS))
        if settings.schedule == "cosine":
            return settings.floor + (initial - settings.floor) * (1 + math.cos(math.pi * done)) / 2
        return self._shares[fine_tuned]

    def start_fine_tuning(self) -> None:
        """Restart the plateau detection for the fine-tuning stage."""
        self._lowest, self._stale = math.inf, 0

    def add_validation(self, loss: float, step: int) -> None:
        """Add the validation loss after `step` steps; a plateau lowers the rates of the parameters trained so far."""
        if loss < self._lowest:
            self._lowest, self._stale = loss, 0
            return
        self._stale += 1
        if self.settings.schedule == "plateau" and self._stale >= _PATIENCE:
            self._stale = 0
            for fine_tuned in (False, True) if self.settings.is_fine_tuning(step) else (False,):
                self._shares[fine_tuned] = max(self.settings.floor, self._shares[fine_tuned] * _PLATEAU)

    def state(self) -> dict[str, object]:
        """Return plain values for a checkpoint."""
        lowest = self._lowest if math.isfinite(self._lowest) else None
        return {"lowest": lowest, "stale": self._stale, "share": self._shares[False], "fine_tuned": self._shares[True]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore `state`."""
        self._lowest = math.inf if state["lowest"] is None else state["lowest"]
        self._stale, self._shares = state["stale"], {False: state["share"], True: state["fine_tuned"]}
