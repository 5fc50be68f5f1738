"""Training settings, derived from a configuration, a detector, and the number of samples."""

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
_VALIDATION_SHARE = 0.25  # samples per validation, as a share of those trained on since the last one
_MIN_VALIDATION = 128  # samples per validation, if there are so many
_FLOOR = 0.01  # share of the first learning rate
_CHANGEABLE = ("patience", "keep", "max_time_s", "threads")  # may change on resume


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """The fine-tuning stage of a training."""

    start: int  # steps before it
    validate_every: int  # steps


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """Settings of one training."""

    seed: int
    batch_size: int  # samples per step, over all devices
    steps: int  # in all
    steps_per_epoch: int
    validate_every: int  # steps
    validate_on: int  # held-out samples per validation at most, evenly spaced
    fine_tuning: FineTuning | None = None
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
        """Return the settings that decide what is learned, as plain values."""
        # fine-tuning starts from the kept weights
        changeable = _CHANGEABLE if self.fine_tuning is None else [name for name in _CHANGEABLE if name != "keep"]
        return {name: value for name, value in asdict(self).items() if name not in changeable}

    def is_fine_tuning(self, step: int) -> bool:
        """Whether a step (from 1) belongs to the fine-tuning stage."""
        return self.fine_tuning is not None and step > self.fine_tuning.start

    def validates(self, step: int) -> bool:
        """Whether the loop validates after `step` steps; it always does at the end of a stage."""
        if step == self.steps or (self.fine_tuning is not None and step == self.fine_tuning.start):
            return True
        if self.fine_tuning is not None and self.is_fine_tuning(step):
            return (step - self.fine_tuning.start) % self.fine_tuning.validate_every == 0
        return step % self.validate_every == 0


def refuse_contradictions(config: TrainConfig, device: torch.device) -> None:
    """Raise ConfigError for contradictory settings, before any data is read.

    Raises UsageError in a child process that runs the user's script again.
    """
    if config.devices > 1 and getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(
            "--devices starts processes, and each of them runs your script again: put the call "
            'under if __name__ == "__main__":'
        )
    if config.epochs is not None and config.steps is not None:
        raise ConfigError(f"--epochs {config.epochs} and --steps {config.steps} exclude each other: give one of them")
    if config.floor is not None and config.schedule == "constant":
        raise ConfigError(f"--floor {config.floor:g} needs --schedule step, cosine, or plateau")
    if config.precision == "16" and device.type == "cpu":
        raise ConfigError("--precision 16 needs a GPU: on a CPU, use bf16 or 32")
    if config.accumulate * config.devices > config.batch_size:
        raise ConfigError(
            f"--batch-size {config.batch_size} with --devices {config.devices} and --accumulate {config.accumulate}: "
            f"expected at least {config.accumulate * config.devices}, one sample per device and micro-batch"
        )
    if config.devices > 1 and device.type == "cuda":
        if config.device.startswith("cuda:"):
            raise ConfigError(f"--devices {config.devices} with --device {config.device}: use --device cuda")
        if config.devices > torch.cuda.device_count():
            raise ConfigError(f"--devices {config.devices}: this machine has only {torch.cuda.device_count()} (CUDA)")


def plan(config: TrainConfig, detector: TrainedDetector, samples: int) -> TrainSettings:
    """Derive the settings for a training on `samples` samples; ConfigError if a step has fewer samples than devices."""
    smallest = min(samples, config.batch_size)
    if smallest < config.devices:
        raise ConfigError(
            f"--devices {config.devices}: a step has only {smallest}, expected at least 1 sample per device"
        )
    per_epoch = max(1, samples // config.batch_size)
    given_steps = config.steps or (detector.default_steps if config.epochs is None else None)
    steps = given_steps or (config.epochs or detector.default_epochs) * per_epoch
    fine_tuning = None
    if isinstance(detector, EmbeddedDetector) and detector.fine_tunes:
        epochs = None if config.epochs is None and config.steps is None else math.ceil(steps / per_epoch)
        first, last = detector.split_epochs(per_epoch, epochs)
        steps = steps if epochs is not None else (first + last) * per_epoch
        every = _validation_interval(steps - first * per_epoch, per_epoch, given_steps)
        fine_tuning = FineTuning(start=first * per_epoch, validate_every=max(every, per_epoch))  # it is slow
    frozen_steps = steps if fine_tuning is None else fine_tuning.start
    validate_every = _validation_interval(frozen_steps, per_epoch, given_steps)
    longest = validate_every if fine_tuning is None else fine_tuning.validate_every
    return TrainSettings(
        seed=detector.options.torch_seed,
        batch_size=config.batch_size,
        steps=steps,
        steps_per_epoch=per_epoch,
        validate_every=validate_every,
        validate_on=max(_MIN_VALIDATION, math.ceil(_VALIDATION_SHARE * longest * config.batch_size)),
        fine_tuning=fine_tuning,
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


def _validation_interval(steps: int, per_epoch: int, given_steps: int | None) -> int:
    """Return the steps between validations of a stage: an epoch, unless the length is given in steps."""
    return per_epoch if given_steps is None else max(1, math.ceil(steps / _VALIDATIONS))
