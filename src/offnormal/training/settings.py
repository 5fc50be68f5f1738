"""What training is to do, with everything decided: of a configuration, a detector and a number of samples."""

from __future__ import annotations

import math
import multiprocessing
from dataclasses import asdict, dataclass
from typing import Literal

import torch

from offnormal.config.fit import ScheduleName, TrainConfig
from offnormal.detectors.base import EmbeddedDetector, TrainedDetector
from offnormal.errors import ConfigError, UsageError

_VALIDATIONS = 20  # over a training whose length is given in steps
_LOOKED_AT = 0.25  # samples a validation takes for each learned from since the one before: a tenth of the time or less
_LEAST = 128  # samples that a validation takes where there are so many
_FLOOR = 0.01  # share of the first learning rate
_FREE = ("patience", "keep", "max_time_s", "threads")  # what may change when a training is gone on with


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """The last stage of a training, in which parts learn that learn only late."""

    step: int  # steps before it
    validate_every: int  # steps from there on


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How a detector is trained."""

    seed: int
    batch_size: int  # samples a step, over all devices
    steps: int  # in all
    steps_per_epoch: int
    validate_every: int  # steps
    validate_on: int  # samples at most, spread evenly over those kept back
    late: Late | None = None
    schedule: ScheduleName = "constant"
    floor: float = _FLOOR
    precision: Literal["32", "bf16", "16"] = "32"
    accumulate: int = 1
    clip_grad_norm: float | None = None
    devices: int = 1
    patience: int | None = None  # validations
    keep: Literal["best", "last"] = "best"
    max_time_s: float | None = None
    threads: int | None = None

    def fixed(self) -> dict[str, object]:
        """The settings that decide on what is learned, as plain values."""
        free = _FREE if self.late is None else [name for name in _FREE if name != "keep"]  # the stage begins at it
        return {name: value for name, value in asdict(self).items() if name not in free}

    def is_late(self, step: int) -> bool:
        """Whether the step, from 1, is one of the last stage."""
        return self.late is not None and step > self.late.step

    def validates(self, step: int) -> bool:
        """Whether there is a validation after so many steps: also where a stage ends."""
        if step == self.steps or (self.late is not None and step == self.late.step):
            return True
        if self.late is not None and step > self.late.step:
            return (step - self.late.step) % self.late.validate_every == 0
        return step % self.validate_every == 0


def refuse_contradictions(config: TrainConfig, device: torch.device) -> None:
    """ConfigError for settings that mean nothing together, before any data is read.

    UsageError in a process that was started to help and runs the user's script once more instead.
    """
    if config.devices > 1 and getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(
            "several devices are several processes, each of which reads the script that starts them: put the call "
            'under if __name__ == "__main__":'
        )
    if config.epochs is not None and config.steps is not None:
        raise ConfigError(f"--epochs {config.epochs} and --steps {config.steps}: give one of them")
    if config.floor is not None and config.schedule == "constant":
        raise ConfigError(f"--floor {config.floor:g} without a --schedule: give step, cosine or plateau, too")
    if config.precision == "16" and device.type == "cpu":
        raise ConfigError("--precision 16 is for GPUs: on a processor give bf16, or 32")
    if config.accumulate * config.devices > config.batch_size:
        raise ConfigError(
            f"--batch-size {config.batch_size} on {config.devices} device(s) in {config.accumulate} piece(s): a batch "
            "is shared by all devices and cut into the pieces of --accumulate; expected at least one sample in each"
        )
    if config.devices > 1 and device.type == "cuda":
        if config.device.startswith("cuda:"):
            raise ConfigError(f"--devices {config.devices} with --device {config.device}: give --device cuda")
        if config.devices > torch.cuda.device_count():
            raise ConfigError(f"--devices {config.devices}: this machine has {torch.cuda.device_count()} CUDA devices")


def plan(config: TrainConfig, detector: TrainedDetector, learned: int) -> TrainSettings:
    """The settings of a training on so many samples; ConfigError when there are fewer than devices."""
    smallest = min(learned, config.batch_size)
    if smallest < config.devices:
        raise ConfigError(f"--devices {config.devices} for {smallest} sample(s) a step: expected at least one for each")
    per_epoch = max(1, learned // config.batch_size)
    counted = config.steps or (detector.default_steps if config.epochs is None else None)
    steps = counted or (config.epochs or detector.default_epochs) * per_epoch
    late = None
    if isinstance(detector, EmbeddedDetector) and detector.fine_tunes:
        given = None if config.epochs is None and config.steps is None else math.ceil(steps / per_epoch)
        first, last = detector.split_epochs(per_epoch, given)
        steps = steps if given is not None else (first + last) * per_epoch
        every = _every(steps - first * per_epoch, per_epoch, counted)
        late = Late(step=first * per_epoch, validate_every=max(every, per_epoch))  # its validations are dear
    validate_every = _every(steps if late is None else late.step, per_epoch, counted)
    dearest = validate_every if late is None else late.validate_every
    return TrainSettings(
        seed=detector.options.torch_seed,
        batch_size=config.batch_size,
        steps=steps,
        steps_per_epoch=per_epoch,
        validate_every=validate_every,
        validate_on=max(_LEAST, math.ceil(_LOOKED_AT * dearest * config.batch_size)),
        late=late,
        schedule=config.schedule,
        floor=config.floor if config.floor is not None else _FLOOR,
        precision=config.precision,
        accumulate=config.accumulate,
        clip_grad_norm=config.clip_grad_norm,
        devices=config.devices,
        patience=config.patience,
        keep=config.keep,
        max_time_s=config.max_time,
        threads=config.threads,
    )


def _every(steps: int, per_epoch: int, counted: int | None) -> int:
    """Steps from one validation to the next, of a stage of so many: an epoch, unless length is counted in steps."""
    return per_epoch if counted is None else max(1, math.ceil(steps / _VALIDATIONS))
