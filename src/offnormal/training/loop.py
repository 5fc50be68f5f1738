"""The training loop: batches, optimizer steps, validation on held-out normals, and checkpoints."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from offnormal.data.prefetch import Prefetch
from offnormal.detectors.base import TrainedDetector
from offnormal.errors import ConfigError, FitError
from offnormal.scoring.scorer import explain_memory_error
from offnormal.training import checkpoint, ranks
from offnormal.training.journal import Journal, StepRecord
from offnormal.training.ranks import Report
from offnormal.training.samples import Order, Portion, Source, to_unit
from offnormal.training.schedule import Schedule
from offnormal.training.settings import TrainSettings

Stopped = Literal["done", "early", "time"]
_PREFETCH = 2  # batches to prefetch
_SAVE_S = 120.0  # maximum seconds between two checkpoints, apart from waits for a GPU
_SAVE_SHARE = 0.05  # maximum share of the time for checkpoints at validations
_VALIDATION = 1 << 32  # added to the rank in the seed of a validation


class Trained(NamedTuple):
    """The result of training; the detector holds the weights that are kept."""

    steps: int
    epochs: int  # started
    stopped: Stopped
    best_step: int | None  # None without a validation; with fine-tuning, the best of that stage
    best_epoch: int | None
    best_loss: float | None
    frozen_loss: float | None  # best before the fine-tuning stage
    waiting_share: float  # share of the time that steps waited for data

    def rounded(self) -> Trained:
        """Return the result with values rounded for display."""
        best, frozen = (None if x is None else float(f"{x:.6g}") for x in (self.best_loss, self.frozen_loss))
        return self._replace(best_loss=best, frozen_loss=frozen, waiting_share=round(self.waiting_share, 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that a training process needs; picklable."""

    detector: TrainedDetector
    training: Source
    held_out: Source
    settings: TrainSettings
    run: Path
    identity: dict[str, object]  # plain values; a checkpoint to resume from must have the same
    resume: bool = False

    def __call__(self, fabric: Fabric, report: Report | None) -> Trained:
        """Train in this process."""
        return _Loop(self, fabric, report).run()


def train(job: Job, device: torch.device, report: Report | None = None) -> Trained:
    """Train the detector of a job; it then has the kept weights, in eval mode on the device.

    Checkpoints stay in the run; the caller removes them. report: receives steps done, total steps, and current losses.
    Raises FitError for losses that are not finite, batches that do not fit into memory, or a full disk, and ConfigError
    if the checkpoint to resume from belongs to other data or options.
    """
    saved = checkpoint.load(job.run).state["identity"] if job.resume else job.identity
    if changes := checkpoint.list_differences(saved, job.identity):
        raise ConfigError(
            f"{job.run}: cannot resume, since data or options have changed (checkpoint -> now): {'; '.join(changes)}. "
            "Use the same data and options, or start a new fit without --resume"
        )
    with _reproducible(device):
        result = ranks.launch(job, job.settings, device, report)
    which = "best" if job.settings.keep == "best" and result.best_step is not None else "last"
    job.detector.cpu().load_state(checkpoint.load(job.run, which).detector())
    job.detector.to(device).eval()
    return result


@contextlib.contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Make results reproducible, and restore the caller's random state and settings afterwards."""
    gpus = range(torch.cuda.device_count()) if device.type == "cuda" else ()
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    uses_benchmark = torch.backends.cudnn.benchmark
    with torch.random.fork_rng(gpus):
        if device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.backends.cudnn.benchmark = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(is_deterministic, warn_only=warns_only)
            torch.backends.cudnn.benchmark = uses_benchmark


@contextlib.contextmanager
def _explain_batch_norm() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise FitError(
            "batch normalization needs at least 2 samples per device and micro-batch: raise --batch-size, or lower "
            "--accumulate or --devices"
        ) from None


def seed_everything(*numbers: int) -> None:
    """Seed torch with a combination of numbers."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))


@dataclass(frozen=True, slots=True)
class _Best:
    """The best validation so far; without values before the first one."""

    step: int | None = None
    epoch: int | None = None
    loss: float = math.inf


class _Loop:
    """Training in one process; all ranks do the same with their shares of every batch."""

    def __init__(self, job: Job, fabric: Fabric, report: Report | None) -> None:
        self.job = job
        self.settings = job.settings
        self.fabric = fabric
        # ranks share the memory of the job's detector
        self.detector = job.detector if fabric.world_size == 1 else copy.deepcopy(job.detector)
        resumed = checkpoint.load(job.run) if job.resume else None
        if resumed is not None:
            self.detector.load_state(resumed.detector())
        self.detector.to(fabric.device)
        self.optimizers = self.detector.optimizers()
        self.schedule = Schedule(self.settings, self.optimizers)
        is_16_bit = self.settings.precision == "16"
        self.scalers = {name: torch.amp.GradScaler(fabric.device.type, enabled=is_16_bit) for name in self.optimizers}
        self.journal = Journal(fabric, job.run, self.settings.steps, allow_overflow=is_16_bit, report=report)
        self.step = 0
        self.stopped: Stopped | None = None
        self.best = _Best()
        self.stale_validations = 0  # since the best one
        self.best_state: dict[str, Tensor] | None = None  # on the CPU, until it is saved
        self.waited_s = self.took_s = 0.0
        self.saved_at = time.perf_counter()
        self.save_took_s = 0.0
        self.save_after_epoch = False  # the pending checkpoint waits until the epoch is logged
        self.fine_tuning_started = False
        self.frozen_loss: float | None = None  # best loss before fine-tuning
        max_time_s = math.inf if self.settings.max_time_s is None else self.settings.max_time_s
        self.end_s = time.perf_counter() + max_time_s
        if resumed is not None:
            self._restore(resumed)
        fabric.barrier()
        job.training.mark_shared()
        job.held_out.mark_shared()

    def run(self) -> Trained:
        """Train until the last step, an early stop, or the time limit."""
        batch = f"a batch of {self.settings.batch_size} samples"
        with explain_memory_error(batch, "raise --accumulate, or lower --batch-size or --size", FitError):
            while self.stopped is None:
                self._epoch(self.step // self.settings.steps_per_epoch)
        if self.fabric.is_global_zero:
            self._save()
        self.fabric.barrier()
        return Trained(
            steps=self.step,
            epochs=math.ceil(self.step / self.settings.steps_per_epoch),
            stopped=self.stopped,
            best_step=self.best.step,
            best_epoch=self.best.epoch,
            best_loss=self.best.loss if self.best.step is not None else None,
            frozen_loss=self.frozen_loss,
            waiting_share=self.waited_s / self.took_s if self.took_s else 0.0,
        )

    def _epoch(self, epoch: int) -> None:
        """Train on the remaining batches of an epoch."""
        settings, first, start = self.settings, self.step, time.perf_counter()
        fine_tuning = settings.is_fine_tuning(self.step + 1)
        if fine_tuning and not self.fine_tuning_started:
            self._start_fine_tuning()
        values = self.detector.start_epoch(epoch, fine_tuning=fine_tuning)
        order = Order(
            seed=settings.seed,
            epoch=epoch,
            batch_size=settings.batch_size,
            skip=self.step % settings.steps_per_epoch,
            rank=self.fabric.global_rank,
            ranks=self.fabric.world_size,
        )
        batches = partial(self.job.training.stage_source(fine_tuning=fine_tuning).epoch, order)
        prefetch = Prefetch(batches, capacity=_PREFETCH, name="batches")
        waited = 0.0
        with contextlib.closing(prefetch):
            portions = iter(prefetch)
            while self.stopped is None:
                step_start = time.perf_counter()
                portion = next(portions, None)
                waited += time.perf_counter() - step_start
                if portion is None:
                    break
                record = self._step(portion, epoch + 1)
                record.seconds = time.perf_counter() - step_start
                self._after_step(record)
        took = time.perf_counter() - start
        self.waited_s, self.took_s = self.waited_s + waited, self.took_s + took
        self.journal.log(
            "epoch",
            epoch=epoch + 1,
            steps=self.step - first,
            seconds=round(took, 3),
            waiting_share=round(waited / took, 4),
            **values,
            **self.detector.end_epoch(),
        )
        if self.save_after_epoch:
            self._save()

    def _step(self, portion: Portion, epoch: int) -> StepRecord:
        """Run one step of every optimizer."""
        self.detector.train()
        seed_everything(self.settings.seed, self.step, self.fabric.global_rank)
        record = StepRecord(self.step + 1, epoch, portion.samples, self.schedule.set(self.step))
        pixels = to_unit(portion.pixels.to(self.fabric.device))
        whole = portion.whole
        if len(pixels) == 1 and len(self.job.training) == 1:  # batch normalization needs two values
            pixels, whole = pixels.repeat(2, *[1] * (pixels.ndim - 1)), 2
        micro_batches = pixels.tensor_split(min(self.settings.accumulate, len(pixels)))
        for number, micro_batch in enumerate(micro_batches):
            with _explain_batch_norm():
                self._micro_batch(micro_batch, len(micro_batch) / whole, record, last=number == len(micro_batches) - 1)
        ranks.average_buffers(self.fabric, self.detector)
        self.step += 1
        return record

    def _micro_batch(self, pixels: Tensor, weight: float, record: StepRecord, *, last: bool) -> None:
        steps = self.detector.training_step(pixels)
        while True:
            with self.fabric.autocast():
                step = next(steps, None)
            if step is None:
                return
            name, losses = step
            record.add(name, losses, weight)
            optimizer, scaler = self.optimizers[name], self.scalers[name]
            parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
            loss = losses["loss"] if weight == 1 else losses["loss"] * weight
            # the losses of several optimizers may share a graph
            torch.autograd.backward(scaler.scale(loss), inputs=parameters, retain_graph=len(self.optimizers) > 1)
            if not last:
                continue
            ranks.average_gradients(self.fabric, parameters)
            scaler.unscale_(optimizer)
            norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
            if self.settings.clip_grad_norm is not None:
                clip_grads_with_norm_(parameters, self.settings.clip_grad_norm, norm)
            record.norms[name] = norm.detach()
            scaler.step(optimizer)
            torch.autograd.graph.increment_version(parameters)  # fused optimizers do not, but folded weights rely on it
            scaler.update()
            optimizer.zero_grad(set_to_none=True)

    def _after_step(self, record: StepRecord) -> None:
        """Log the step, validate, save, and decide whether to stop."""
        settings = self.settings
        is_checked = self.journal.add(record)
        is_last = self.step >= settings.steps
        validates = settings.validates(self.step)
        if validates:
            self.journal.flush()
            self._validate(record.epoch)
        if is_last:
            self.stopped = "done"
        elif settings.patience is not None and self.stale_validations >= settings.patience:
            self.stopped = "early"
        elif settings.max_time_s is not None and ranks.broadcast_flag(self.fabric, time.perf_counter() >= self.end_s):
            self.journal.flush()
            self.stopped = "time"
        elif self.fabric.is_global_zero and (validates or is_checked):
            since = time.perf_counter() - self.saved_at
            if since > (self.save_took_s / _SAVE_SHARE if validates else _SAVE_S):
                self.save_after_epoch = self.step % settings.steps_per_epoch == 0  # after the epoch's log line
                if not self.save_after_epoch:
                    self._save()

    @torch.no_grad()
    def _validate(self, epoch: int) -> None:
        """Compute the losses on held-out normals, in eval mode; each rank takes its share of every batch."""
        start = time.perf_counter()
        self.detector.eval()
        seed_everything(self.settings.seed, self.step, _VALIDATION + self.fabric.global_rank)
        sums: dict[str, Tensor] = {}
        count = 0
        settings, fine_tuning = self.settings, self.settings.is_fine_tuning(self.step)
        held_out = self.job.held_out.spread(settings.validate_on).stage_source(fine_tuning=fine_tuning)
        for batch in held_out.loader(math.ceil(settings.batch_size / settings.accumulate)):
            pixels = torch.from_numpy(batch.pixels)
            share = pixels[self.fabric.global_rank :: self.fabric.world_size]
            weight = len(share)
            with self.fabric.autocast():  # a rank without a share computes one sample with weight 0
                losses = self.detector.validation_step((share if weight else pixels[:1]).to(self.fabric.device))
            for name, loss in losses.items():
                weighted = torch.as_tensor(loss, device=self.fabric.device).double() * weight
                sums[name] = sums[name] + weighted if name in sums else weighted
            count += len(batch.samples)
        means = torch.stack(list(sums.values())) / count
        if self.fabric.world_size > 1:
            means = self.fabric.all_reduce(means, reduce_op="sum")  # type: ignore[assignment]
        mean_losses = dict(zip(sums, means.tolist(), strict=True))
        is_best = mean_losses["loss"] < self.best.loss
        seconds = time.perf_counter() - start
        self.journal.add_validation(self.step, epoch, mean_losses, best=is_best, seconds=seconds)
        self.schedule.add_validation(mean_losses["loss"], self.step)
        counts = fine_tuning or settings.fine_tuning is None  # an early stop must not skip the fine-tuning stage
        self.stale_validations = self.stale_validations + 1 if counts and not is_best else 0
        if is_best:
            self.best = _Best(self.step, epoch, mean_losses["loss"])
            if self.fabric.is_global_zero:
                self.best_state = {k: v.to("cpu", copy=True) for k, v in self.detector.state_dict().items()}

    def _save(self) -> None:
        """Save `best` if it is new, then `last`, which refers to it."""
        start = time.perf_counter()
        if self.best_state is not None:
            checkpoint.save(self.job.run, "best", self.best_state, asdict(self.best))
            self.best_state = None
        state = {
            "identity": self.job.identity,
            "step": self.step,
            "stopped": None if self.stopped == "time" else self.stopped,
            "best": asdict(self.best) if self.best.step is not None else None,
            "stale_validations": self.stale_validations,
            "fine_tuning_started": self.fine_tuning_started,
            "frozen_loss": self.frozen_loss,
            "schedule": self.schedule.state(),
            "scalers": {name: scaler.state_dict() for name, scaler in self.scalers.items()},
        }
        checkpoint.save(self.job.run, "last", self.detector.state_dict(), state, **self.optimizers)
        self.saved_at = time.perf_counter()
        self.save_took_s = self.saved_at - start
        self.save_after_epoch = False

    def _start_fine_tuning(self) -> None:
        """Start the fine-tuning stage from the best weights so far, which are not yet overfitted.

        The search for the best weights restarts, because the result must be fine-tuned. A checkpoint is saved at once:
        `best` may soon hold other weights.
        """
        if self.best.step is not None and self.settings.keep == "best":
            if self.fabric.is_global_zero:
                self._save()
            self.fabric.barrier()
            self.detector.load_state(checkpoint.load(self.job.run, "best").detector())
            self.detector.to(self.fabric.device)  # loading creates new buffers
            self.detector.end_epoch()  # drops the values of an epoch that is already logged
            for optimizer in self.optimizers.values():
                optimizer.state.clear()  # it belongs to other weights
        if self.best.step is not None:
            self.frozen_loss, self.best = self.best.loss, _Best()
        self.schedule.start_fine_tuning()
        self.fine_tuning_started = True
        if self.fabric.is_global_zero:
            self._save()

    def _restore(self, resumed: checkpoint.Checkpoint) -> None:
        state = resumed.state
        for name, optimizer in self.optimizers.items():
            checkpoint.load_optimizer(optimizer, name, resumed)
            if self.settings.precision == "16":
                self.scalers[name].load_state_dict(state["scalers"][name])
        self.schedule.load_state(state["schedule"])
        self.step, self.stopped = state["step"], state["stopped"]
        self.stale_validations = state["stale_validations"]
        self.fine_tuning_started, self.frozen_loss = state["fine_tuning_started"], state["frozen_loss"]
        if state["best"] is not None:
            self.best = _Best(**state["best"])
        self.journal.log("resumed", step=self.step)
