"""Which data a verb reads, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from offnormal.config.fields import Device, Names, Split
from offnormal.config.model import VerbConfig


def _off(value: object) -> object:
    """What YAML makes of `off` is the word again."""
    return "off" if value is False else value


class DeviceConfig(VerbConfig):
    """Where and in what portions scores are computed."""

    heading: ClassVar[str | None] = "Computing"

    device: Device = "auto"
    """auto, cpu, cuda or cuda:N."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Images, frames or clips computed at once."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads that compute on the processor; default: one a core."""


class ComputeConfig(DeviceConfig):
    """How files are read for it."""

    heading: ClassVar[str | None] = "Computing"

    workers: Annotated[int, Field(ge=1)] | None = None
    """Threads that read and resize images; default: one a core, at most 8."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do with a file that cannot be read: fail with its name, or skip and list it."""


class MaskConfig(VerbConfig):
    """What is hidden from everybody."""

    heading: ClassVar[str | None] = "Input and threshold"

    mask: Path | None = None
    """Privacy mask, painted black before anything else sees an image: an image, or polygons in YAML or JSON."""


class DataConfig(VerbConfig):
    """Which images, videos or clips."""

    heading: ClassVar[str | None] = "Data"

    data: Path | None = None
    """Folder of a dataset whose layout is recognized (offnormal list layouts)."""
    layout: str | None = None
    """Name of the layout, when it is not to be recognized."""
    category: str | None = None
    """One category of a dataset with several, or all."""
    normal_class: str | None = None
    """Of a dataset of classes, such as MNIST: the one that is normal; all others are anomalous."""
    normal_classes: Names | None = None
    """Of class folders of clips: those that are normal; all others are anomalous, unless those are named, too."""
    anomalous_classes: Names | None = None
    """Of class folders of clips: those that are anomalous; all others are normal, unless those are named, too."""
    split: Split = (50.0, 40.0, 10.0)
    """Of class folders: percent of each normal class for training, test and calibration."""
    split_seed: int = 0
    """Of the random choice of these clips."""
    normal: Path | None = None
    """Plain folder of normal images, instead of --data."""
    test: Path | None = None
    """Plain folder to test on; labeled by its subfolders when one is called good, normal or ok."""
    masks: Path | None = None
    """Folder of masks that mirrors the test folder."""
    group_by: str | None = None
    """Sessions or lots that belong together: folder, or a regular expression on the path."""


class FootageConfig(VerbConfig):
    """How videos are read."""

    heading: ClassVar[str | None] = "Videos"

    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Frames per second of videos without a clock: folders of images, bare streams (.h264); others have their own."""
    cache: Annotated[Literal["off", "ram", "disk"], BeforeValidator(_off)] = "ram"
    """Where decoded and resized frames are kept for a further pass: ram (at most 2 GiB), disk or off."""
    cache_dir: Path = Path("~/.cache/offnormal/frames")
    """Folder for cache=disk."""
