"""The configuration of `fit` and `import`, of which a detector's options are a part (verbs/fit.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from offnormal.config.data import ComputeConfig, DataConfig, FootageConfig, MaskConfig
from offnormal.config.fields import SEVERAL, FalseAlarmRate, PositiveDuration, Size, parse_names
from offnormal.config.model import VerbConfig
from offnormal.types import Interpolation, ResizePolicy

ScheduleName = Literal["constant", "step", "cosine", "plateau"]


class TrackingConfig(VerbConfig):
    """Where a run is shown and kept besides its folder."""

    heading: ClassVar[str | None] = "Tracking and upload"

    track: Annotated[list[Literal["wandb", "tensorboard", "mlflow"]], BeforeValidator(parse_names)] = Field(default=[])
    """Show the run in wandb, tensorboard or mlflow while it runs; may be given several times."""
    track_project: str | None = None
    """Project of W&B (or entity/project), experiment of MLflow; default: offnormal."""
    track_run: str | None = None
    """Name of the tracked run; default: that of the run's folder."""
    upload: str | None = None
    """Copy the run there at each checkpoint and at the end: s3://bucket/prefix, file:///backup or what fsspec knows."""


class FitConfig(TrackingConfig, DataConfig, FootageConfig, ComputeConfig, MaskConfig):
    """offnormal fit."""

    heading: ClassVar[str | None] = "Input and threshold"

    every: PositiveDuration | None = None
    """Learn from one frame of a video about every so many seconds, such as 5s; default: from every frame."""
    size: Size | None = None
    """Pixels: N for about N x N, or HxW such as 256x320. Default: the detector's (256 for padim)."""
    resize: ResizePolicy = "median_aspect"
    """median_aspect (one rectangle of the median training aspect), stretch, short_side (and crop) or letterbox."""
    crop: Annotated[int, Field(ge=16)] | None = None
    """With short_side: side in pixels of the square cut from the center; default: size."""
    interpolation: Interpolation = "bicubic"
    """Filter for resizing."""
    antialias: bool = True
    """Whether the filter widens when images shrink."""
    ignore_mask: Path | None = None
    """Image whose nonzero pixels mark a region that never counts."""
    rate: FalseAlarmRate | None = None
    """Expected false-alarm rate, such as 0.01 or 1%; default: the smallest that the data supports, down to 1%."""
    out: Path = Path("runs")
    """Folder in which the run's folder is made."""


class TrainConfig(FitConfig):
    """offnormal fit of a detector that learns by gradient."""

    heading: ClassVar[str | None] = "Training"

    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the training samples; default: the detector's."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Steps in all, instead of epochs; default: the detector's, where it counts in steps."""
    schedule: ScheduleName = "constant"
    """How learning rates fall: step (to a tenth after 1/2 and after 3/4), cosine, plateau (halved when no better)."""
    floor: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the first learning rate that a schedule ends at; default: 0.01."""
    precision: Annotated[Literal["32", "bf16", "16"], BeforeValidator(str)] = "32"
    """Bits of the arithmetic: 32, or mixed with bf16 or (on a GPU) 16."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Pieces that a batch is computed in one after the other, where it does not fit into memory as a whole."""
    clip_grad_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Norm that the gradient of each optimizer is cut to."""
    devices: Annotated[int, Field(ge=1)] = 1
    """GPUs, or with --device cpu processes, that share every batch."""
    hold_out: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    """Share of the normal samples held out of training, for validation and the threshold."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many validations (one an epoch) without a lower loss; default: never."""
    keep: Literal["best", "last"] = "best"
    """Which weights to keep: those of the lowest validation loss, or the last ones."""
    max_time: PositiveDuration | None = None
    """Stop training after this time, such as 30m, and finish with what was learned."""
    resume: Path | None = None
    """Run folder of an interrupted fit: continue from its last checkpoint."""


class EmbeddedTrainConfig(TrainConfig):
    """offnormal fit of a detector that learns from embeddings."""

    embeddings_dir: Path = Path("~/.cache/offnormal/embeddings")
    """Folder in which embeddings of videos are kept for further fits."""
    embeddings_gb: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 4.0
    """Gigabytes kept there, the ones used last; 0: keep none."""


class ImportConfig(VerbConfig):
    """offnormal import."""

    weights: Annotated[list[Path], SEVERAL] = Field(default=[])
    """Files that the method's published code has saved."""
    out: Path = Path("runs")
    """Folder in which the run's folder is made."""

    @property
    def files(self) -> list[Path]:
        """Every file that was given."""
        return self.weights

    @property
    def chosen(self) -> dict[str, object]:
        """What the files do not say, as arguments of the detector's `from_reference`."""
        return {}
