"""The record of a training run: checks that losses and gradients are finite, logs them, and reports progress."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from offnormal.errors import FitError, name_some
from offnormal.run import Run
from offnormal.training import checkpoint
from offnormal.training.ranks import Report
from offnormal.types import Sample

_EVERY = 20  # steps between two checks of a GPU's results; each check waits for the GPU
_SKIPS = 50  # consecutive steps that may overflow 16 bits
_NAMES = 8  # files listed in an error


@dataclass(slots=True)
class StepRecord:
    """One step; its results may still be computing on the device."""

    step: int  # from 1
    epoch: int  # from 1
    samples: Sequence[Sample]
    rates: dict[str, float]  # learning rate of each optimizer, and of parameters that only fine-tuning trains
    seconds: float = 0.0
    losses: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    norms: dict[str, Tensor] = field(default_factory=dict)  # of the gradients, before clipping

    def add(self, optimizer: str, losses: dict[str, Tensor], weight: float) -> None:
        """Add the losses of one micro-batch."""
        sums = self.losses.setdefault(optimizer, {})
        for name, loss in losses.items():
            share = torch.as_tensor(loss).detach().float() * weight
            sums[name] = sums[name] + share if name in sums else share


class Journal:
    """Collects the records of steps; only rank 0 logs and reports them."""

    def __init__(
        self, fabric: Fabric, folder: Path, total: int, *, allow_overflow: bool, report: Report | None
    ) -> None:
        self.fabric = fabric
        self.folder = folder
        self.total = total
        self.allow_overflow = allow_overflow  # with 16 bits, steps whose gradient overflows are skipped
        self.run = Run(folder) if fabric.is_global_zero else None
        self.report = report if fabric.is_global_zero else None
        self._pending: list[StepRecord] = []
        self._every = 1 if fabric.device.type == "cpu" else _EVERY
        self._skipped = 0
        self._validation_note = ""

    def log(self, event: str, **values: object) -> None:
        """Append a line to the run's log."""
        if self.run is not None:
            self.run.log(event, **values)

    def add(self, record: StepRecord) -> bool:
        """Add the record of a step; return whether all steps so far are checked."""
        self._pending.append(record)
        if len(self._pending) < self._every:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Check and log all pending steps; FitError if a loss or gradient is not finite."""
        if not self._pending:
            return
        losses = torch.stack([x for r in self._pending for named in r.losses.values() for x in named.values()])
        norms = torch.stack([norm.float() for r in self._pending for norm in r.norms.values()])
        totals, gradient = losses.double().cpu(), iter(norms.double().cpu().tolist())
        self._check(totals.tolist(), norms.double().cpu().tolist())
        if self.fabric.world_size > 1:
            totals = self.fabric.all_reduce(totals.to(self.fabric.device), reduce_op="sum").cpu()  # type: ignore[union-attr]
        loss = iter(totals.tolist())
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
        if self.report is not None:
            note = "  ".join(f"{name} {named['loss']:.4g}" for name, named in values.items())
            self.report(record.step, self.total, f"{note}{self._validation_note}")
        self._pending = []

    def add_validation(self, step: int, epoch: int, losses: dict[str, float], *, best: bool, seconds: float) -> None:
        """Log the losses of a validation; FitError if the one that is minimized is not finite."""
        if not math.isfinite(losses["loss"]):
            raise FitError(
                f"the validation loss after step {step} (epoch {epoch}) is {losses['loss']}. {self._advice()}"
            )
        self._validation_note = f"  validation {losses['loss']:.4g}"
        self.log("validation", step=step, epoch=epoch, losses=losses, best=best, seconds=round(seconds, 3))

    def _check(self, losses: list[float], norms: list[float]) -> None:
        loss, norm = iter(losses), iter(norms)
        for record in self._pending:
            for optimizer, named in record.losses.items():
                for name in named:
                    value = next(loss)
                    if not math.isfinite(value):
                        label = f"the loss {name!r}" if name != "loss" else "the loss"
                        raise FitError(self._describe_failure(record, f"{label} of {optimizer} is {value}"))
            for optimizer in record.norms:
                value = next(norm)
                self._skipped = self._skipped + 1 if not math.isfinite(value) else 0
                if self._skipped > (_SKIPS if self.allow_overflow else 0):
                    raise FitError(self._describe_failure(record, f"the gradient of {optimizer} is {value}"))

    def _describe_failure(self, record: StepRecord, problem: str) -> str:
        files = list(dict.fromkeys(map(_describe, record.samples)))
        return (
            f"step {record.step} (epoch {record.epoch}): {problem}; files of the batch: "
            f"{name_some(files, _NAMES)}. {self._advice()}"
        )

    def _advice(self) -> str:
        step = checkpoint.last_step(self.folder)
        intact = (
            "There is no earlier checkpoint"
            if step is None
            else f"The last good checkpoint is from step {step} ({checkpoint.checkpoint_path(self.folder, 'last')})"
        )
        precision = ", --precision bf16 or 32" if self.allow_overflow else ""
        return f"{intact}. Check these files, and fit again with a lower learning rate or --clip-grad-norm 1{precision}"


def _describe(sample: Sample) -> str:
    if sample.frame is None:
        return str(sample.item.path)
    return f"{sample.item.path} frame {sample.frame}" + (
        f" ({sample.time_s:.2f} s)" if sample.time_s is not None else ""
    )
