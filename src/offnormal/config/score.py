"""The configurations of the verbs that score with a fitted detector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from offnormal.config.data import ComputeConfig, DataConfig, FootageConfig, MaskConfig
from offnormal.config.fields import FalseAlarmRate, PositiveDuration
from offnormal.config.rules import AlarmConfig


class CalibrateConfig(FootageConfig, AlarmConfig, ComputeConfig, MaskConfig):
    """offnormal calibrate."""

    normal: Path | None = None
    """Folder of normal images or videos, or one video, that the detector has not learned from."""
    rate: FalseAlarmRate | None = None
    """Expected false-alarm rate, such as 1%, or of footage 2/hour; default: the smallest supported, down to 1%."""
    group_by: str | None = None
    """Sessions or lots that belong together: folder, or a regular expression on the path."""


class EvaluateConfig(DataConfig, FootageConfig, AlarmConfig, ComputeConfig, MaskConfig):
    """offnormal evaluate."""

    out: Path | None = None
    """Folder for metrics.json, scores.csv and report.html; default: the bundle's run, or a new one beside it."""
    smooth: PositiveDuration | None = None
    """Also measure scores smoothed over time by a Gaussian of this width, such as 0.5s; looks ahead."""
    hold: bool = False
    """Give frames that are skipped between windows the score of the frame before."""
    max_pixels: Annotated[int, Field(ge=1)] = 64_000_000
    """Pixels up to which pixel metrics are exact; above, a histogram whose error is stated."""


class CompareConfig(AlarmConfig):
    """offnormal compare."""

    out: Path | None = None
    """Folder for comparison.json, comparison.md and report.html; default: a new one, runs/<time>-compare."""
    combine: bool = False
    """Add a row for all runs together: the sum of their -log p-values."""


class PredictConfig(AlarmConfig, ComputeConfig, MaskConfig):
    """offnormal predict."""

    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Threshold by hand instead of the calibrated one; no guarantee."""
    overlays: Path | None = None
    """Folder for heat-map images and raw maps; of videos the highest frame of every alarm."""
    csv: Path | None = None
    """File for the results as CSV: one row an image, of videos one row a frame."""
    annotate: Path | None = None
    """MP4 to write: the video with heat map, verdict and running score; a folder when there are several videos."""
    as_video: bool = False
    """Read folders of images as videos, their images as frames."""
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Frames per second of videos without a clock: folders of images, bare streams (.h264); others have their own."""
    every: PositiveDuration | None = None
    """Look at a video only about once every so many seconds, such as 1s; default: at every frame."""
    hold: bool = False
    """Give frames that are skipped between windows the score of the frame before."""


class BenchmarkConfig(ComputeConfig):
    """offnormal benchmark."""

    data: Path | None = None
    """Folder of images or videos, or a video, to read; default: images that are drawn."""
    images: Annotated[int, Field(ge=1)] = 128
    """Images read from files, over and over where there are fewer."""
    rounds: Annotated[int, Field(ge=1)] = 5
    """Rounds in which detector and reference take turns."""
