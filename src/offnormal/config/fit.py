"""The configuration of `fit` and `import`; verbs/fit.py adds the detector's options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from offnormal.config.data import ComputeConfig, DataConfig, FootageConfig, MaskConfig
from offnormal.config.fields import AS_LIST, FalseAlarmRate, PositiveDuration, Size, parse_names
from offnormal.config.model import ADVANCED, Heading, VerbConfig
from offnormal.types import Interpolation, ResizePolicy

ScheduleName = Literal["constant", "step", "cosine", "plateau"]


class TrackingConfig(VerbConfig):
    """Where a run is tracked and uploaded."""

    heading: ClassVar[str | None] = "Tracking and upload"

    track: Annotated[list[Literal["wandb", "tensorboard", "mlflow"]], BeforeValidator(parse_names)] = Field(default=[])
    """Experiment tracker that shows the run live; repeatable."""
    track_project: str | None = None
    """Project of W&B (or entity/project), or experiment of MLflow. Default: offnormal."""
    track_run: str | None = None
    """Name of the tracked run. Default: the name of the run folder."""
    upload: str | None = None
    """Upload the run at the start, at checkpoints, and at the end: s3://bucket/prefix, or any fsspec URL."""


class FitConfig(TrackingConfig, DataConfig, FootageConfig, ComputeConfig, MaskConfig):
    """offnormal fit."""

    heading: ClassVar[str | None] = "Input"

    every: Annotated[PositiveDuration | None, Heading("Input")] = None
    """Use one video frame per interval, such as 5s. Default: every frame."""
    size: Size | None = None
    """Input size in pixels: N (square) or HxW, such as 256x320. Default: chosen by the detector."""
    max_input_pixels: Annotated[Annotated[int, Field(ge=1)], ADVANCED] = 4096 * 4096
    """Largest input (--size) allowed, in pixels."""
    resize: Annotated[ResizePolicy, ADVANCED] = "median_aspect"
    """How images are resized; median_aspect: to a rectangle with the median aspect ratio of the training images."""
    crop: Annotated[Annotated[int, Field(ge=16)] | None, ADVANCED] = None
    """With --resize short_side: side of the center crop in pixels. Default: --size."""
    interpolation: Annotated[Interpolation, ADVANCED] = "bicubic"
    """Resize filter."""
    antialias: Annotated[bool, ADVANCED] = True
    """Widen the resize filter when images shrink."""
    ignore_mask: Path | None = None
    """Mask image; nonzero pixels are ignored in scores."""
    rate: Annotated[FalseAlarmRate | None, Heading("Threshold")] = None
    """Expected false-alarm rate, such as 1%. Default: the smallest that the data supports, down to 1 %."""
    out: Annotated[Path, Heading("Output")] = Path("runs")
    """Parent folder of the run folder."""


class TrainConfig(FitConfig):
    """offnormal fit for a detector trained by gradient descent."""

    heading: ClassVar[str | None] = "Training"

    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the training samples. Default: chosen by the detector."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Total number of steps, instead of --epochs."""
    schedule: Annotated[ScheduleName, ADVANCED] = "constant"
    """Learning rate schedule; step: to a tenth after 1/2 and 3/4; plateau: halved when the validation loss stalls."""
    floor: Annotated[Annotated[float, Field(ge=0, lt=1)] | None, ADVANCED] = None
    """Final learning rate of a schedule, as a share of the initial one. Default: 0.01."""
    precision: Annotated[Literal["32", "bf16", "16"], BeforeValidator(str), ADVANCED] = "32"
    """32, or mixed precision: bf16, or 16 (GPU only)."""
    accumulate: Annotated[Annotated[int, Field(ge=1)], ADVANCED] = 1
    """Split each batch into this many micro-batches, to save memory."""
    clip_grad_norm: Annotated[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, ADVANCED] = None
    """Clip the gradient norm of each optimizer to this value."""
    devices: Annotated[Annotated[int, Field(ge=1, le=256)], ADVANCED] = 1
    """Number of GPUs (or processes, with --device cpu) that share each batch."""
    hold_out: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    """Share of the normal samples held out for validation and the threshold."""
    patience: Annotated[Annotated[int, Field(ge=1)] | None, ADVANCED] = None
    """Stop after this many epochs without a lower validation loss. Default: never."""
    keep: Annotated[Literal["best", "last"], ADVANCED] = "best"
    """Weights to keep: those with the lowest validation loss, or the last."""
    max_time: PositiveDuration | None = None
    """Stop training after this time, such as 30m, and finish the run."""
    resume: Path | None = None
    """Run folder of an interrupted fit, to continue from its last checkpoint."""


class EmbeddedTrainConfig(TrainConfig):
    """offnormal fit for a detector trained on embeddings."""

    embeddings_dir: Annotated[Path, ADVANCED] = Path("~/.cache/offnormal/embeddings")
    """Folder where embeddings of videos are stored for later fits."""
    embeddings_gb: Annotated[float, Field(ge=0, allow_inf_nan=False), ADVANCED] = 4.0
    """Size limit of that folder in gigabytes; 0: store nothing."""


class ImportConfig(VerbConfig):
    """offnormal import."""

    weights: Annotated[list[Path], AS_LIST] = Field(default=[])
    """Weights file saved by the published code; repeatable."""
    out: Annotated[Path, Heading("Output")] = Path("runs")
    """Parent folder of the run folder."""

    @property
    def files(self) -> list[Path]:
        """All files to read."""
        return self.weights

    @property
    def chosen(self) -> dict[str, object]:
        """Arguments for the detector's `from_reference` that the files do not contain."""
        return {}
