"""The loop that trains a detector: batches, steps of its optimizers, validation on normals kept back, checkpoints."""

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
from offnormal.training.ranks import Tell
from offnormal.training.samples import Order, Portion, Source, to_unit
from offnormal.training.schedule import Schedule
from offnormal.training.settings import TrainSettings

Stopped = Literal["done", "early", "time"]
_AHEAD = 2  # batches made before they are asked for
_SAVE_S = 120.0  # seconds between two checkpoints at most, but for the wait for a GPU
_SAVE_SHARE = 0.05  # of the time that checkpoints at validations may take
_VALIDATION = 1 << 32  # added to the rank where random numbers of a validation are seeded


class Trained(NamedTuple):
    """What training came to; the detector holds the weights to keep."""

    steps: int
    epochs: int  # begun
    stopped: Stopped
    best_step: int | None  # None: there was no validation
    best_epoch: int | None
    best_loss: float | None
    early_loss: float | None  # the best before parts began to learn that learn only late; best_*: since
    waiting_share: float  # of the time of the steps, spent waiting for data

    def rounded(self) -> Trained:
        """The same with figures that people read."""
        best, early = (None if x is None else float(f"{x:.6g}") for x in (self.best_loss, self.early_loss))
        return self._replace(best_loss=best, early_loss=early, waiting_share=round(self.waiting_share, 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that a training needs, wherever it runs."""

    detector: TrainedDetector
    learn: Source
    held: Source
    settings: TrainSettings
    run: Path
    identity: dict[str, object]  # plain values that a checkpoint must agree with
    resume: bool = False

    def __call__(self, fabric: Fabric, tell: Tell | None) -> Trained:
        """Train in this process."""
        return _Loop(self, fabric, tell).run()


def train(job: Job, device: torch.device, tell: Tell | None = None) -> Trained:
    """Train the detector of a job, which then has the weights to keep, in eval mode on the device.

    Checkpoints stay in the run for the caller to remove. tell: hears steps done, of how many, and current losses.
    Raises FitError for losses that are not finite, batches that do not fit into memory and a full disk, and ConfigError
    when it is to go on from a checkpoint of something else.
    """
    if job.resume and (other := checkpoint.differences(checkpoint.load(job.run).state["identity"], job.identity)):
        raise ConfigError(
            f"{job.run} cannot be gone on with, since what it learns from or how has changed: {'; '.join(other)}. "
            "Give the same options and data, or fit anew without --resume"
        )
    with _repeatable(device):
        found = ranks.launch(job, job.settings, device, tell)
    kept = "best" if job.settings.keep == "best" and found.best_step is not None else "last"
    job.detector.cpu().load_state(checkpoint.load(job.run, kept).detector())
    job.detector.to(device).eval()
    return found


@contextlib.contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """The same results every time, and the user's own random numbers as they were."""
    gpus = range(torch.cuda.device_count()) if device.type == "cuda" else ()
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    tuned = torch.backends.cudnn.benchmark
    with torch.random.fork_rng(gpus):
        if device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.backends.cudnn.benchmark = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            torch.backends.cudnn.benchmark = tuned


@contextlib.contextmanager
def _enough_samples() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise FitError(
            "batch normalization needs more than one sample at once: raise --batch-size, or lower --accumulate or "
            "--devices"
        ) from None


def seed_everything(*numbers: int) -> None:
    """Seed torch with a mixture of numbers."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))


@dataclass(frozen=True, slots=True)
class _Best:
    """The best validation; before there is one, nothing is known of it."""

    step: int | None = None
    epoch: int | None = None
    loss: float = math.inf


class _Loop:
    """The training of one process; all ranks do the same on their shares of every batch."""

    def __init__(self, job: Job, fabric: Fabric, tell: Tell | None) -> None:
        self.job = job
        self.settings = job.settings
        self.fabric = fabric
        self.detector = job.detector if fabric.world_size == 1 else copy.deepcopy(job.detector)  # its memory is shared
        found = checkpoint.load(job.run) if job.resume else None
        if found is not None:
            self.detector.load_state(found.detector())
        self.detector.to(fabric.device)
        self.optimizers = self.detector.optimizers()
        self.schedule = Schedule(self.settings, self.optimizers)
        half = self.settings.precision == "16"
        self.scalers = {name: torch.amp.GradScaler(fabric.device.type, enabled=half) for name in self.optimizers}
        self.journal = Journal(fabric, job.run, self.settings.steps, forgiving=half, tell=tell)
        self.step = 0
        self.stopped: Stopped | None = None
        self.best = _Best()
        self.worse = 0  # validations since the best
        self.best_state: dict[str, Tensor] | None = None  # on the CPU, until it is written
        self.waited_s = self.took_s = 0.0
        self.saved_at = time.perf_counter()
        self.save_took_s = 0.0
        self.save_late = False  # a checkpoint is due, when what the epoch has to tell is told
        self.late_begun = False
        self.early_loss: float | None = None  # the best before that
        self.until = math.inf if self.settings.max_time_s is None else time.perf_counter() + self.settings.max_time_s
        if found is not None:
            self._restore(found)
        fabric.barrier()
        job.learn.shared_by_all()
        job.held.shared_by_all()

    def run(self) -> Trained:
        """Train until the end, a lack of improvement or the limit of time."""
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
            early_loss=self.early_loss,
            waiting_share=self.waited_s / self.took_s if self.took_s else 0.0,
        )

    def _epoch(self, epoch: int) -> None:
        """The batches of an epoch that have not been learned from yet."""
        settings, first, start = self.settings, self.step, time.perf_counter()
        late = settings.is_late(self.step + 1)
        if late and not self.late_begun:
            self._begin_late()
        begun = self.detector.epoch_begins(epoch, late=late)
        order = Order(
            seed=settings.seed,
            epoch=epoch,
            batch_size=settings.batch_size,
            skip=self.step % settings.steps_per_epoch,
            rank=self.fabric.global_rank,
            ranks=self.fabric.world_size,
        )
        ahead = Prefetch(partial(self.job.learn.during(late=late).epoch, order), capacity=_AHEAD, name="batches")
        waited = 0.0
        with contextlib.closing(ahead):
            portions = iter(ahead)
            while self.stopped is None:
                begin = time.perf_counter()
                portion = next(portions, None)
                waited += time.perf_counter() - begin
                if portion is None:
                    break
                record = self._step(portion, epoch + 1)
                record.seconds = time.perf_counter() - begin
                self._stepped(record)
        took = time.perf_counter() - start
        self.waited_s, self.took_s = self.waited_s + waited, self.took_s + took
        share = round(waited / took, 4)
        self.journal.log(
            "epoch",
            epoch=epoch + 1,
            steps=self.step - first,
            seconds=round(took, 3),
            waiting_share=share,
            **begun,
            **self.detector.epoch_ended(),
        )
        if self.save_late:
            self._save()

    def _step(self, portion: Portion, epoch: int) -> StepRecord:
        """One step of every optimizer that the detector asks for."""
        self.detector.train()
        seed_everything(self.settings.seed, self.step, self.fabric.global_rank)
        record = StepRecord(self.step + 1, epoch, portion.samples, self.schedule.set(self.step))
        pixels = to_unit(portion.pixels.to(self.fabric.device))
        whole = portion.whole
        if len(pixels) == 1 and len(self.job.learn) == 1:  # batch normalization needs two values
            pixels, whole = pixels.repeat(2, *[1] * (pixels.ndim - 1)), 2
        pieces = pixels.tensor_split(min(self.settings.accumulate, len(pixels)))
        for number, piece in enumerate(pieces):
            with _enough_samples():
                self._piece(piece, len(piece) / whole, record, last=number == len(pieces) - 1)
        ranks.equalise_buffers(self.fabric, self.detector)
        self.step += 1
        return record

    def _piece(self, pixels: Tensor, weight: float, record: StepRecord, *, last: bool) -> None:
        turns = self.detector.training_step(pixels)
        while True:
            with self.fabric.autocast():
                turn = next(turns, None)
            if turn is None:
                return
            name, losses = turn
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
            torch.autograd.graph.increment_version(parameters)  # fused optimizers do not, and what is folded asks
            scaler.update()
            optimizer.zero_grad(set_to_none=True)

    def _stepped(self, record: StepRecord) -> None:
        """After a step: tell of it, validate, save, and see whether it was the last."""
        settings = self.settings
        looked = self.journal.add(record)
        done = self.step >= settings.steps
        due = settings.validates(self.step)
        if due:
            self.journal.flush()
            self._validate(record.epoch)
        if done:
            self.stopped = "done"
        elif settings.patience is not None and self.worse >= settings.patience:
            self.stopped = "early"
        elif settings.max_time_s is not None and ranks.agreed(self.fabric, time.perf_counter() >= self.until):
            self.journal.flush()
            self.stopped = "time"
        elif self.fabric.is_global_zero and (due or looked):
            since = time.perf_counter() - self.saved_at
            if since > (self.save_took_s / _SAVE_SHARE if due else _SAVE_S):
                self.save_late = self.step % settings.steps_per_epoch == 0  # behind what is told of the epoch
                if not self.save_late:
                    self._save()

    @torch.no_grad()
    def _validate(self, epoch: int) -> None:
        """Losses on the normals kept back, in eval mode; each rank takes its share of every batch."""
        start = time.perf_counter()
        self.detector.eval()
        seed_everything(self.settings.seed, self.step, _VALIDATION + self.fabric.global_rank)
        rank, world = self.fabric.global_rank, self.fabric.world_size
        sums: dict[str, Tensor] = {}
        count = 0
        settings, late = self.settings, self.settings.is_late(self.step)
        held = self.job.held.spread(settings.validate_on).during(late=late)
        for batch in held.loader(math.ceil(settings.batch_size / settings.accumulate)):
            pixels = torch.from_numpy(batch.pixels)
            mine = pixels[rank::world]
            weight = len(mine)
            with self.fabric.autocast():  # without a share of its own a rank computes one that does not count
                found = self.detector.validation_step((mine if weight else pixels[:1]).to(self.fabric.device))
            for name, loss in found.items():
                share = torch.as_tensor(loss, device=self.fabric.device).double() * weight
                sums[name] = sums[name] + share if name in sums else share
            count += len(batch.samples)
        means = torch.stack(list(sums.values())) / count
        if world > 1:
            means = self.fabric.all_reduce(means, reduce_op="sum")  # type: ignore[assignment]
        losses = dict(zip(sums, means.tolist(), strict=True))
        better = losses["loss"] < self.best.loss
        taken = time.perf_counter() - start
        self.journal.validated(self.step, epoch, losses, best=better, seconds=taken)
        self.schedule.validated(losses["loss"], self.step)
        waits = late or settings.late is None  # patience: what learns only late is to have its time
        self.worse = self.worse + 1 if waits and not better else 0
        if better:
            self.best = _Best(self.step, epoch, losses["loss"])
            if self.fabric.is_global_zero:
                self.best_state = {k: v.to("cpu", copy=True) for k, v in self.detector.state_dict().items()}

    def _save(self) -> None:
        """Write `best` where it is new, then `last`, which speaks of it."""
        start = time.perf_counter()
        if self.best_state is not None:
            checkpoint.save(self.job.run, "best", self.best_state, asdict(self.best))
            self.best_state = None
        state = {
            "identity": self.job.identity,
            "step": self.step,
            "stopped": None if self.stopped == "time" else self.stopped,
            "best": asdict(self.best) if self.best.step is not None else None,
            "worse": self.worse,
            "late_begun": self.late_begun,
            "early_loss": self.early_loss,
            "schedule": self.schedule.state(),
            "scalers": {name: scaler.state_dict() for name, scaler in self.scalers.items()},
        }
        checkpoint.save(self.job.run, "last", self.detector.state_dict(), state, **self.optimizers)
        self.saved_at = time.perf_counter()
        self.save_took_s = self.saved_at - start
        self.save_late = False

    def _begin_late(self) -> None:
        """Let what learns late begin where the rest was best, not where it has learned its samples by heart.

        From there on the best is looked for anew: whoever lets more learn asks for what that comes to. The checkpoint
        behind it is of these weights: `best` may soon be another one.
        """
        if self.best.step is not None and self.settings.keep == "best":
            if self.fabric.is_global_zero:
                self._save()
            self.fabric.barrier()
            self.detector.load_state(checkpoint.load(self.job.run, "best").detector())
            self.detector.to(self.fabric.device)  # its buffers are new
            self.detector.epoch_ended()  # what that epoch had to tell has been told
            for optimizer in self.optimizers.values():
                optimizer.state.clear()  # of other weights
        if self.best.step is not None:
            self.early_loss, self.best = self.best.loss, _Best()
        self.schedule.begin_late()
        self.late_begun = True
        if self.fabric.is_global_zero:
            self._save()

    def _restore(self, found: checkpoint.Checkpoint) -> None:
        state = found.state
        for name, optimizer in self.optimizers.items():
            checkpoint.load_optimizer(optimizer, name, found)
            if self.settings.precision == "16":
                self.scalers[name].load_state_dict(state["scalers"][name])
        self.schedule.load_state(state["schedule"])
        self.step, self.stopped, self.worse = state["step"], state["stopped"], state["worse"]
        self.late_begun, self.early_loss = state["late_begun"], state["early_loss"]
        if state["best"] is not None:
            self.best = _Best(**state["best"])
        self.journal.log("resumed", step=self.step)
