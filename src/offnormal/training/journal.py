"""What is told of a training: every step's losses, checked to be finite, written to the log and shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from offnormal.errors import FitError
from offnormal.run import Run
from offnormal.training import checkpoint
from offnormal.training.ranks import Tell
from offnormal.types import Sample

_EVERY = 20  # steps between two looks at a GPU's results, each of which waits until it has caught up
_SKIPS = 50  # steps in a row that 16 bits are too few for
_NAMES = 8  # files named in an error


@dataclass(slots=True)
class StepRecord:
    """One step while its results may still be on their way from the device."""

    step: int  # from 1
    epoch: int  # from 1
    samples: Sequence[Sample]
    rates: dict[str, float]  # learning rate of each optimizer, and of what learns only late
    seconds: float = 0.0
    losses: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    norms: dict[str, Tensor] = field(default_factory=dict)  # of the gradients, before they are cut

    def add(self, optimizer: str, losses: dict[str, Tensor], weight: float) -> None:
        """Add the losses of one piece of the batch."""
        sums = self.losses.setdefault(optimizer, {})
        for name, loss in losses.items():
            share = torch.as_tensor(loss).detach().float() * weight
            sums[name] = sums[name] + share if name in sums else share


class Journal:
    """Takes the records of steps; only rank 0 has a run to write to and somebody to tell."""

    def __init__(self, fabric: Fabric, folder: Path, total: int, *, forgiving: bool, tell: Tell | None) -> None:
        self.fabric = fabric
        self.folder = folder
        self.total = total
        self.forgiving = forgiving  # steps with 16 bits are left out when a gradient does not fit into them
        self.run = Run(folder) if fabric.is_global_zero else None
        self.tell = tell if fabric.is_global_zero else None
        self._pending: list[StepRecord] = []
        self._every = 1 if fabric.device.type == "cpu" else _EVERY
        self._skipped = 0
        self._validation = ""

    def log(self, event: str, **values: object) -> None:
        """A line in the run's log."""
        if self.run is not None:
            self.run.log(event, **values)

    def add(self, record: StepRecord) -> bool:
        """Take the record of a step; whether everything up to it has now been looked at."""
        self._pending.append(record)
        if len(self._pending) < self._every:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Look at all steps that were taken; FitError when a loss or gradient of one is not finite."""
        if not self._pending:
            return
        losses = torch.stack([x for r in self._pending for named in r.losses.values() for x in named.values()])
        norms = torch.stack([norm.float() for r in self._pending for norm in r.norms.values()])
        own, gradient = losses.double().cpu(), iter(norms.double().cpu().tolist())
        self._check(own.tolist(), norms.double().cpu().tolist())
        if self.fabric.world_size > 1:
            own = self.fabric.all_reduce(own.to(self.fabric.device), reduce_op="sum").cpu()  # type: ignore[union-attr]
        loss = iter(own.tolist())
        for record in self._pending:
            values = {name: {key: next(loss) for key in named} for name, named in record.losses.items()}
            self.log(
                "step",
                step=record.step,
                epoch=record.epoch,
                losses=values,
                lr=record.rates,
                gradient={name: next(gradient) for name in record.norms},
                seconds=round(record.seconds, 6),
            )
        if self.tell is not None:
            now = "  ".join(f"{name} {named['loss']:.4g}" for name, named in values.items())
            self.tell(record.step, self.total, f"{now}{self._validation}")
        self._pending = []

    def validated(self, step: int, epoch: int, losses: dict[str, float], *, best: bool, seconds: float) -> None:
        """Take the losses of a validation; FitError when the one that chooses is not finite."""
        if not math.isfinite(losses["loss"]):
            raise FitError(
                f"the validation loss after step {step} (epoch {epoch}) is {losses['loss']}. {self._advice()}"
            )
        self._validation = f"  validation {losses['loss']:.4g}"
        self.log("validation", step=step, epoch=epoch, losses=losses, best=best, seconds=round(seconds, 3))

    def _check(self, losses: list[float], norms: list[float]) -> None:
        loss, norm = iter(losses), iter(norms)
        for record in self._pending:
            for optimizer, named in record.losses.items():
                for name in named:
                    value = next(loss)
                    if not math.isfinite(value):
                        what = f"the loss {name!r}" if name != "loss" else "the loss"
                        raise FitError(self._broken(record, f"{what} of {optimizer} is {value}"))
            for optimizer in record.norms:
                value = next(norm)
                self._skipped = self._skipped + 1 if not math.isfinite(value) else 0
                if self._skipped > (_SKIPS if self.forgiving else 0):
                    raise FitError(self._broken(record, f"the gradient of {optimizer} is {value}"))

    def _broken(self, record: StepRecord, what: str) -> str:
        named = list(dict.fromkeys(map(_described, record.samples)))
        more = f" and {len(named) - _NAMES} more" if len(named) > _NAMES else ""
        return (
            f"step {record.step} (epoch {record.epoch}): {what}, of a batch of {', '.join(named[:_NAMES])}{more}. "
            f"{self._advice()}"
        )

    def _advice(self) -> str:
        step = checkpoint.last_step(self.folder)
        kept = (
            "No checkpoint was written before"
            if step is None
            else (f"The last good checkpoint is that of step {step} ({checkpoint.place(self.folder, 'last')})")
        )
        finer = ", --precision bf16 or 32" if self.forgiving else ""
        return f"{kept}. Look at these files, and fit again with a lower learning rate or --clip-grad-norm 1{finer}"


def _described(sample: Sample) -> str:
    if sample.frame is None:
        return str(sample.item.path)
    return f"{sample.item.path} frame {sample.frame}" + (
        f" ({sample.time_s:.2f} s)" if sample.time_s is not None else ""
    )
