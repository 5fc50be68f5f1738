"""Every verb's configuration; how it comes together is told in config_layers.py."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from offnormal.quantities import seconds, seconds_text, shares_text, sides, size_text
from offnormal.types import Interpolation, ResizePolicy


class VerbConfig(BaseModel):
    """What all verbs share: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)  # `rate: 0.01` in YAML


class ComputeConfig(VerbConfig):
    """Where and in what portions scores are computed."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Images computed at once."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads that compute on the processor; default: one a core."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Threads that read and resize pictures; default: one a core, at most 8."""
    on_bad: Literal["stop", "skip"] = "stop"
    """What to do with a file that cannot be read: stop with its name, or leave it out and list it."""


class MaskConfig(VerbConfig):
    """What is hidden from everybody."""

    mask: Path | None = None
    """Privacy mask, painted black before anything else sees a picture: a picture, or polygons in YAML or JSON."""


class DataConfig(VerbConfig):
    """Which pictures."""

    data: Path | None = None
    """Folder of a data set whose layout is recognised (offnormal list layouts)."""
    layout: str | None = None
    """Name of the layout, when it is not to be recognised."""
    category: str | None = None
    """One category of a data set with several, or all."""
    normal_class: str | None = None
    """Of a data set of classes, such as MNIST: the one that is normal; all others are anomalous."""
    normal_classes: list[str] | None = None
    """Of class folders of clips: those that are normal; all others are anomalous, unless those are named, too."""
    anomalous_classes: list[str] | None = None
    """Of class folders of clips: those that are anomalous; all others are normal, unless those are named, too."""
    parts: Annotated[str, BeforeValidator(shares_text)] = "50/40/10"
    """Of class folders: per cent of each normal class to learn from, to test on and to set the threshold with."""
    split_seed: int = 0
    """Of the random choice of these clips."""
    normal: Path | None = None
    """Plain folder of normal pictures, instead of --data."""
    test: Path | None = None
    """Plain folder to test on; labelled by its subfolders when one is called good, normal or ok."""
    masks: Path | None = None
    """Folder of masks that mirrors the test folder."""
    group_by: str | None = None
    """Sessions or lots that belong together: folder, or a regular expression on the path."""

    @property
    def shares(self) -> tuple[float, float, float]:
        """`parts` as numbers: per cent to learn from, to test on, to set the threshold with."""
        train, test, calibration = map(float, self.parts.split("/"))
        return train, test, calibration


class FootageConfig(VerbConfig):
    """How videos are read."""

    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Frames per second of videos that are folders of pictures; files state their own."""
    cache: Literal["off", "ram", "disk"] = "ram"
    """Where decoded and resized frames are kept for a further pass: ram (at most 2 GiB), disk or off."""
    cache_dir: Path = Path("~/.cache/offnormal/frames")
    """Folder for cache=disk."""


def _listed(value: Any) -> Any:
    """Names with commas between them, or a list of names."""
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


class ElsewhereConfig(VerbConfig):
    """Where a run is shown and kept besides its folder."""

    track: Annotated[list[Literal["wandb", "tensorboard", "mlflow"]], BeforeValidator(_listed)] = []
    """Show the run in wandb, tensorboard or mlflow while it goes on; may be given several times."""
    track_project: str | None = None
    """Project of W&B (or entity/project), experiment of MLflow; default: offnormal."""
    track_run: str | None = None
    """Name of the tracked run; default: that of the run's folder."""
    upload: str | None = None
    """Copy the run there at each checkpoint and at the end: s3://bucket/prefix, file:///backup or what fsspec knows."""


class FitConfig(ElsewhereConfig, DataConfig, FootageConfig, ComputeConfig, MaskConfig):
    """offnormal fit."""

    every: Annotated[str, BeforeValidator(seconds_text)] | None = None
    """Learn from one frame of a video about every so many seconds, such as 5s; default: from every frame."""

    size: Annotated[str, BeforeValidator(size_text)] | None = None
    """Pixels: N for about N x N, or HxW such as 256x320. Default: the detector's (256 for padim)."""
    resize: ResizePolicy = "median_aspect"
    """median_aspect (one rectangle of the median training aspect), stretch, short_side (and crop) or letterbox."""
    crop: Annotated[int, Field(ge=16)] | None = None
    """With short_side: side in pixels of the square cut from the centre; default: size."""
    interpolation: Interpolation = "bicubic"
    """Filter for resizing."""
    antialias: bool = True
    """Whether the filter widens when pictures shrink."""
    ignore_mask: Path | None = None
    """Picture whose nonzero pixels mark a region that never counts."""
    rate: str | None = None
    """False-alarm rate to promise, such as 0.01 or 1%; default: the smallest the data can, down to 1%."""
    out: Path = Path("runs")
    """Folder in which the run's folder is made."""

    @property
    def every_s(self) -> float | None:
        """`every` in seconds."""
        return None if self.every is None else seconds(self.every)

    @property
    def sides(self) -> int | tuple[int, int] | None:
        """`size` as numbers: N, or (H, W)."""
        return None if self.size is None else sides(self.size)


class TrainConfig(FitConfig):
    """offnormal fit of a detector that learns by gradient."""

    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the samples learnt from; default: the detector's."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Steps in all, instead of epochs; default: the detector's, where it counts in steps."""
    schedule: Literal["constant", "step", "cosine", "plateau"] = "constant"
    """How learning rates fall: step (to a tenth after 1/2 and after 3/4), cosine, plateau (halved when no better)."""
    floor: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the first learning rate that a schedule ends at; default: 0.01."""
    precision: Annotated[Literal["32", "bf16", "16"], BeforeValidator(str)] = "32"
    """Bits of the arithmetic: 32, or mixed with bf16 or (on a GPU) 16."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Pieces that a batch is computed in one after the other, where it does not fit into memory as a whole."""
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Norm that the gradient of each optimiser is cut to."""
    devices: Annotated[int, Field(ge=1)] = 1
    """GPUs, or with --device cpu processes, that share every batch."""
    hold_out: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    """Share of the normal samples kept back from learning, for validation and the threshold."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many validations (one an epoch) without a lower loss; default: never."""
    keep: Literal["best", "last"] = "best"
    """Which weights to keep: those of the lowest validation loss, or the last ones."""
    limit_time: Annotated[str, BeforeValidator(seconds_text)] | None = None
    """Stop training after such a time, such as 30min, and finish with what was learnt."""
    resume: Path | None = None
    """Run folder of a fit that was broken off: go on from its last checkpoint."""

    @property
    def limit_s(self) -> float | None:
        """`limit_time` in seconds."""
        return None if self.limit_time is None else seconds(self.limit_time)


class ImportConfig(VerbConfig):
    """offnormal import."""

    weights: list[Path] = []
    """Files that the method's published code has saved."""
    out: Path = Path("runs")
    """Folder in which the run's folder is made."""

    @property
    def files(self) -> list[Path]:
        """Every file that was given."""
        return self.weights

    @property
    def chosen(self) -> dict[str, Any]:
        """What the files do not say, as arguments of the detector's `from_reference`."""
        return {}


class BenchmarkConfig(ComputeConfig):
    """offnormal benchmark."""

    data: Path | None = None
    """Folder of pictures or videos, or a video, to read; default: pictures that are drawn."""
    images: Annotated[int, Field(ge=1)] = 128
    """Pictures read from files, over and over where there are fewer."""
    rounds: Annotated[int, Field(ge=1)] = 5
    """Rounds in which detector and reference take turns."""


class CalibrateConfig(FootageConfig, ComputeConfig, MaskConfig):
    """offnormal calibrate."""

    normals: Path | None = None
    """Folder of normal pictures or videos, or one video, that the detector has not learnt from."""
    rate: str | None = None
    """False-alarm rate to promise, such as 1%, or of footage 2/hour; default: the smallest the data can, down to 1%."""
    group_by: str | None = None
    """Sessions or lots that belong together: folder, or a regular expression on the path."""


class EvaluateConfig(DataConfig, FootageConfig, ComputeConfig, MaskConfig):
    """offnormal evaluate."""

    out: Path | None = None
    """Folder for metrics.json, scores.csv and report.html; default: the bundle's run, or a new one beside it."""
    smooth: Annotated[str, BeforeValidator(seconds_text)] | None = None
    """Also measure scores smoothed over time by a Gaussian of this width, such as 0.5s; looks ahead."""
    merge_gap: Annotated[str, BeforeValidator(seconds_text)] = "1s"
    """Alarms nearer than this to each other count as one."""
    hold: bool = False
    """Give frames that are skipped between windows the score of the frame before."""
    max_pixels: Annotated[int, Field(ge=1)] = 64_000_000
    """Pixels up to which pixel metrics are exact; above, a histogram whose error is stated."""


class CompareConfig(VerbConfig):
    """offnormal compare."""

    out: Path | None = None
    """Folder for comparison.json, comparison.md and report.html; default: a new one, runs/<time>-compare."""
    combine: bool = False
    """Add a row for all runs together: the sum of their -log tail probabilities."""
    merge_gap_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Seconds between two alarms up to which they count as one."""


class PredictConfig(ComputeConfig, MaskConfig):
    """offnormal predict."""

    threshold: float | None = None
    """Threshold by hand instead of the calibrated one; promises nothing."""
    overlays: Path | None = None
    """Folder for heat-map pictures and raw maps; of videos the highest frame of every alarm."""
    csv: Path | None = None
    """File for the results as CSV: one row an image, of videos one row a frame."""
    annotate: Path | None = None
    """MP4 to write: the video with heat map, verdict and running score; a folder when there are several videos."""
    as_video: bool = False
    """Read folders of pictures as videos, their pictures as frames."""
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Frames per second of videos that are folders of pictures; files state their own."""
    every: Annotated[str, BeforeValidator(seconds_text)] | None = None
    """Look at a video only about once every so many seconds, such as 1s; default: at every frame."""
    hold: bool = False
    """Give frames that are skipped between windows the score of the frame before."""
    merge_gap_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Alarms of a video nearer than this to each other, in seconds, count as one."""

    @property
    def every_s(self) -> float | None:
        """`every` in seconds."""
        return None if self.every is None else seconds(self.every)

    @field_validator("threshold")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError("a threshold must be a finite number")
        return value
