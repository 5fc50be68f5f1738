"""Which data a verb reads, and how it reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from offnormal.config.fields import Device, Names, Split
from offnormal.config.model import ADVANCED, VerbConfig


def _off(value: object) -> object:
    """Turn false, as YAML reads `off`, back into the word."""
    return "off" if value is False else value


class DeviceConfig(VerbConfig):
    """Where scores are computed, and the batch size."""

    heading: ClassVar[str | None] = "Computing"

    device: Device = "auto"
    """auto, cpu, cuda, or cuda:N."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Images, frames, or clips in one batch."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads for computing. Default: one per core."""


class ComputeConfig(DeviceConfig):
    """How files are read."""

    heading: ClassVar[str | None] = "Computing"

    workers: Annotated[int, Field(ge=1, le=256)] | None = None
    """Threads that read and resize images. Default: one per core, at most 8."""
    max_image_pixels: Annotated[Annotated[int, Field(ge=1)] | None, ADVANCED] = None
    """Largest image to read, in pixels. Default: as in the fit, or 200,000,000 (0.6 GB per thread)."""
    on_error: Literal["fail", "skip"] = "fail"
    """When a file cannot be read: fail, or skip the file and list it."""


class MaskConfig(VerbConfig):
    """What is blacked out before anything else."""

    heading: ClassVar[str | None] = "Input"

    privacy_mask: Path | None = None
    """Areas to black out in every image before anything else: a mask image, or polygons in YAML or JSON."""


class ClassFoldersConfig(VerbConfig):
    """How the clips of class folders are split."""

    heading: ClassVar[str | None] = "Class folders"

    anomalous_class: Names | None = None
    """An anomalous class; repeatable. Default: every class that is not normal."""
    split: Split = (50.0, 40.0, 10.0)
    """Percent of each normal class for training, test, and calibration."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the random split."""


class DataConfig(ClassFoldersConfig):
    """The dataset: images, videos, or clips."""

    heading: ClassVar[str | None] = "Data"

    data: Path | None = None
    """Dataset folder; its layout is recognized (see: offnormal list layouts)."""
    layout: str | None = None
    """Layout of the dataset, instead of recognizing it."""
    category: str | None = None
    """Category of a dataset that has several; all: every category."""
    normal_class: Names | None = None
    """Class that is normal in a dataset of classes, such as MNIST or class folders of clips. Repeatable for clips."""
    normal: Path | None = None
    """Folder of normal images or videos, instead of --data."""
    test: Path | None = None
    """Test folder. Its subfolders are labels if one of them is named good, normal, ok, or the like."""
    masks: Path | None = None
    """Folder of ground-truth masks: with the same structure as the test folder, or all in one folder."""
    mask_suffix: str | None = None
    """Ending of mask names, such as _GT for 10000_GT.png; the masks are beside the images, or in --masks."""
    group_by: str | None = None
    """Keep lots or sessions together: folder, or a regular expression on the path."""


class FootageConfig(VerbConfig):
    """How videos are read."""

    heading: ClassVar[str | None] = "Videos"

    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Frame rate of videos without a clock: folders of frames, and bare streams (.h264)."""
    cache: Annotated[Literal["off", "ram", "disk"], BeforeValidator(_off)] = "ram"
    """Where decoded frames are kept for the next pass: ram (at most 2 GiB), disk, or off."""
    cache_dir: Path = Path("~/.cache/offnormal/frames")
    """Folder of the disk cache."""
