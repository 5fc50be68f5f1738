"""How learning rates fall while a detector is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from offnormal.training.settings import TrainSettings

_DROPS = (0.5, 0.75)  # of the training; He et al., Deep Residual Learning, 2016, section 4.2
_DROP = 0.1  # there, too
_PATIENCE = 5  # validations without a lower loss until a plateau is seen
_PLATEAU = 0.5
_LATE = 0.1  # of what has learned before; action_video_autoencoder, configs: StepLR falls where the embedder unfreezes


class Schedule:
    """Sets the learning rates of all optimizers before each step, each relative to its own first one.

    Where some learns only late (groups of parameters with a name under "late"), rates fall in each stage anew: those
    of what learns late from the first on, the others' from a tenth.
    """

    def __init__(self, settings: TrainSettings, optimizers: Mapping[str, Optimizer]) -> None:
        self.settings = settings
        self.optimizers = optimizers
        self._first = {name: [group["lr"] for group in found.param_groups] for name, found in optimizers.items()}
        self._lowest = math.inf  # validation loss
        self._worse = 0  # validations since then, or since the last fall
        self._shares = {False: 1.0, True: 1.0}  # of the first rate, on plateaus; of what learns only late

    def set(self, step: int) -> dict[str, float]:
        """Set the rates for the step after so many; those of what learns in it, by name."""
        rates = {}
        for name, optimizer in self.optimizers.items():
            for group, first in zip(optimizer.param_groups, self._first[name], strict=True):
                late = group.get("late")
                group["lr"] = first * self.share(step, late=late is not None)
                if late is None or self.settings.is_late(step + 1):
                    rates[late or name] = group["lr"]
        return rates

    def share(self, step: int, *, late: bool = False) -> float:
        """Share of the first learning rate after so many steps; late: of what learns only late."""
        settings = self.settings
        begin, end, most = 0, settings.steps, 1.0
        if settings.late is not None and settings.late.step:
            if settings.is_late(step + 1):
                begin, most = settings.late.step, 1.0 if late else _LATE
            else:
                end = settings.late.step
        done = (step - begin) / (end - begin)
        if settings.schedule == "step":
            return max(settings.floor, most * _DROP ** sum(done >= drop for drop in _DROPS))
        if settings.schedule == "cosine":
            return settings.floor + (most - settings.floor) * (1 + math.cos(math.pi * done)) / 2
        return self._shares[late]

    def begin_late(self) -> None:
        """Hear that what learns only late begins: it has had no plateau yet."""
        self._lowest, self._worse = math.inf, 0

    def validated(self, loss: float, step: int) -> None:
        """Hear of the validation loss after so many steps: a plateau lowers the rates of what has learned by then."""
        if loss < self._lowest:
            self._lowest, self._worse = loss, 0
            return
        self._worse += 1
        if self.settings.schedule == "plateau" and self._worse >= _PATIENCE:
            self._worse = 0
            for late in (False, True) if self.settings.is_late(step) else (False,):
                self._shares[late] = max(self.settings.floor, self._shares[late] * _PLATEAU)

    def state(self) -> dict[str, object]:
        """Plain values for a checkpoint."""
        lowest = self._lowest if math.isfinite(self._lowest) else None
        return {"lowest": lowest, "worse": self._worse, "share": self._shares[False], "late": self._shares[True]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self._lowest = math.inf if state["lowest"] is None else state["lowest"]
        self._worse, self._shares = state["worse"], {False: state["share"], True: state["late"]}
