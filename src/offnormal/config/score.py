"""The configurations of the verbs that score with a fitted detector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from offnormal.config.data import ComputeConfig, DataConfig, FootageConfig, MaskConfig
from offnormal.config.fields import Confidence, FalseAlarmRate, PositiveDuration
from offnormal.config.model import ADVANCED, Heading
from offnormal.config.rules import AlarmConfig


class CalibrateConfig(FootageConfig, AlarmConfig, ComputeConfig, MaskConfig):
    """offnormal calibrate."""

    exclude_known: Annotated[bool, Heading("Data")] = False
    """Exclude files that the detector was trained on (the same bytes), instead of refusing them."""

    normal: Annotated[Path | None, Heading("Data")] = None
    """Normal images or videos that the detector was not trained on: a folder, or one video."""
    layout: Annotated[Literal["folder", "videos"] | None, Heading("Data")] = None
    """Use everything in --normal, even if names in it describe a split, labels, or masks."""
    rate: Annotated[FalseAlarmRate | None, Heading("Threshold")] = None
    """Expected false-alarm rate, such as 1%, or 2/hour for footage. Default: the smallest the data supports."""
    confidence: Annotated[Confidence | None, Heading("Threshold")] = None
    """For a rate per hour or day: percent confidence that the mean rate is at most --rate. Default: it is expected."""
    group_by: Annotated[str | None, Heading("Data")] = None
    """Keep lots or sessions together: folder, or a regular expression on the path."""
    out: Annotated[Path | None, Heading("Output")] = None
    """Bundle that gets the calibration: a new folder, or a copy of the bundle. Default: the bundle itself."""
    dry_run: Annotated[bool, Heading("Output")] = False
    """Print the calibration and change nothing."""


class EvaluateConfig(DataConfig, FootageConfig, AlarmConfig, ComputeConfig, MaskConfig):
    """offnormal evaluate."""

    exclude_known: Annotated[bool, Heading("Data")] = False
    """Exclude test items that the detector was trained on, or that its threshold was set on (the same bytes)."""

    out: Annotated[Path | None, Heading("Output")] = None
    """Folder for metrics.json, scores.csv, and report.html. Default: the run of the bundle, or a new run."""
    smooth: Annotated[PositiveDuration | None, Heading("Videos")] = None
    """Also report metrics of scores smoothed over time by a Gaussian of this width, such as 0.5s."""
    hold: Annotated[bool, Heading("Videos")] = False
    """Give frames skipped between windows the previous score."""
    max_pixels: Annotated[Annotated[int, Field(ge=1)], Heading("Output"), ADVANCED] = 64_000_000
    """Largest number of pixels for exact pixel metrics; above it, histograms with a stated error."""


class CompareConfig(AlarmConfig):
    """offnormal compare."""

    exclude_known: Annotated[bool, Heading("Data")] = False
    """Exclude test items that any of the detectors was trained on, or that its threshold was set on."""

    out: Annotated[Path | None, Heading("Output")] = None
    """Folder for comparison.json, comparison.md, and report.html. Default: runs/<time>-compare."""
    combine: Annotated[bool, Heading("Output")] = False
    """Add a row that combines all runs: the sum of their -log p-values."""


class PredictConfig(AlarmConfig, ComputeConfig, MaskConfig):
    """offnormal predict."""

    exclude_known: Annotated[bool, Heading("Input")] = False
    """Exclude files that the detector was trained on, or that its threshold was set on (the same bytes)."""

    threshold: Annotated[Annotated[float, Field(allow_inf_nan=False)] | None, Heading("Threshold")] = None
    """Threshold set by hand, instead of the calibrated one. No guarantee."""
    overlays: Annotated[Path | None, Heading("Output")] = None
    """Folder for heat maps, as images and raw arrays; for videos, the peak frame of each alarm."""
    csv: Annotated[Path | None, Heading("Output")] = None
    """CSV file of the scores: one row per image, frame, or clip."""
    annotate: Annotated[Path | None, Heading("Output")] = None
    """MP4 file of the video with heat map, verdict, and score curve; a folder for several videos."""
    as_video: Annotated[bool, Heading("Input")] = False
    """Read each folder of images as a video."""
    fps: Annotated[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, Heading("Videos")] = None
    """Frame rate of videos without a clock: folders of frames, and bare streams (.h264)."""
    every: Annotated[PositiveDuration | None, Heading("Input")] = None
    """Score one frame per interval, such as 1s. Default: every frame."""
    hold: Annotated[bool, Heading("Videos")] = False
    """Give frames skipped between windows the previous score."""


class BenchmarkConfig(ComputeConfig):
    """offnormal benchmark."""

    data: Annotated[Path | None, Heading("Input")] = None
    """Images or videos to read: a folder, or one video. Default: generated images."""
    images: Annotated[Annotated[int, Field(ge=1)], Heading("Input")] = 128
    """Number of images to read; if there are fewer, they are read repeatedly."""
    rounds: Annotated[Annotated[int, Field(ge=1)], Heading("Input")] = 5
    """Number of rounds that alternate between detector and reference."""
