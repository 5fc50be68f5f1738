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


class Schedule:
    """Sets the learning rates of all optimisers before each step, each relative to its own first one."""

    def __init__(self, settings: TrainSettings, optimizers: Mapping[str, Optimizer]) -> None:
        self.settings = settings
        self.optimizers = optimizers
        self._first = {name: [group["lr"] for group in found.param_groups] for name, found in optimizers.items()}
        self._lowest = math.inf  # validation loss
        self._worse = 0  # validations since then, or since the last fall
        self._share = 1.0  # of the first rate, on plateaus

    def set(self, step: int) -> None:
        """Set the rates for the step after so many."""
        share = self.share(step)
        for name, optimizer in self.optimizers.items():
            for group, first in zip(optimizer.param_groups, self._first[name], strict=True):
                group["lr"] = first * share

    def share(self, step: int) -> float:
        """Share of the first learning rate after so many steps."""
        done, floor = step / self.settings.steps, self.settings.floor
        if self.settings.schedule == "step":
            return max(floor, _DROP ** sum(done >= drop for drop in _DROPS))
        if self.settings.schedule == "cosine":
            return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2
        return self._share

    def validated(self, loss: float) -> None:
        """Hear of a validation loss: a plateau lowers the rates."""
        if loss < self._lowest:
            self._lowest, self._worse = loss, 0
            return
        self._worse += 1
        if self.settings.schedule == "plateau" and self._worse >= _PATIENCE:
            self._share, self._worse = max(self.settings.floor, self._share * _PLATEAU), 0

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        lowest = self._lowest if math.isfinite(self._lowest) else None
        return {"lowest": lowest, "worse": self._worse, "share": self._share}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self._lowest = math.inf if state["lowest"] is None else state["lowest"]
        self._worse, self._share = state["worse"], state["share"]
