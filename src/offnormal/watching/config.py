"""The configuration of `watch`: flags for one bundle, a YAML file for many cameras."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from offnormal.config.data import DeviceConfig, MaskConfig
from offnormal.config.fields import AS_LIST, Confidence, EventRate, Text
from offnormal.config.model import FlagName, Flattened, merge, set_values
from offnormal.config.rules import AlarmConfig
from offnormal.config.validation import format_validation_error
from offnormal.errors import ConfigError
from offnormal.events.schedule import Schedule
from offnormal.events.zones import Zone
from offnormal.recording.recorder import RecordOptions
from offnormal.redact import redact
from offnormal.sources.health import HealthOptions
from offnormal.sources.live_reader import Patience
from offnormal.sources.live_stream import Transport

_UNSAFE = re.compile(r"[^\w.-]+")  # characters that may not be in a file name


def _parse_zone(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Zone.parse(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _parse_schedule(value: object) -> object:
    """Windows without a time zone are in UTC."""
    return {"windows": value} if isinstance(value, str | list) else value


ZoneText = Annotated[Zone, Text(_parse_zone, label="ZONE")]
Sink = Annotated[str | dict[str, object], Text(lambda value: value, label="KIND:TARGET")]


class CameraSettings(MaskConfig, AlarmConfig):
    """Settings for all cameras or for one."""

    heading: ClassVar[str | None] = "Cameras"

    bundle: Path | None = None
    """Bundle, or run folder with one."""
    rate: EventRate | None = None
    """Alarm budget: false alarms to expect at most, such as 2/day or 1/hour. Default: the threshold of the bundle."""
    confidence: Confidence | None = None
    """Percent confidence that the mean rate of such footage is at most --rate. Default: the rate is expected."""
    calibrate_on: Annotated[list[Path], AS_LIST] = Field(default=[])
    """Normal footage of this camera that the detector was not trained on, for --rate: a file or folder; repeatable."""
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Threshold set by hand, instead of the calibrated one. No guarantee."""
    zones: Annotated[list[ZoneText], AS_LIST, FlagName("--zone")] = Field(default=[])
    """Polygon to score, such as '0.1,0.2 0.9,0.2 0.5,0.8' (0,0: upper left, 1,1: lower right), or exclude:..."""
    schedule: Annotated[Schedule | None, BeforeValidator(_parse_schedule), Flattened()] = None
    """When events are raised, such as 'mon-fri 18:00-06:00' (UTC); or a time zone and windows."""
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Frames per second to score. Default: every frame."""
    realtime: bool = False
    """Play video files at the speed of a live camera."""
    start_time: datetime | None = None
    """Start time of a recording, such as 2026-11-20T18:00+01:00. Default: times count from the start of the file."""
    transport: Transport = "tcp"
    """RTSP transport."""
    record: RecordOptions = RecordOptions()
    """Images and clips of events."""
    health: HealthOptions = HealthOptions()
    """When a camera is reported as unhealthy."""
    patience: Patience = Patience()
    """Time limits and retries of the connection."""

    @field_validator("start_time")
    @classmethod
    def _default_to_utc(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    @model_validator(mode="after")
    def _check_threshold(self) -> CameraSettings:
        if self.threshold is not None and (self.rate is not None or self.calibrate_on):
            raise ValueError("threshold excludes rate and calibrate_on: a threshold set by hand has no guaranteed rate")
        if self.calibrate_on and self.rate is None:
            raise ValueError("calibrate_on needs a rate, such as rate: 2/day")
        if self.confidence is not None and self.rate is None:
            raise ValueError("confidence needs a rate, such as rate: 2/day")
        return self


class CameraConfig(CameraSettings):
    """One camera."""

    name: Annotated[str, Field(pattern=r"^[\w.-]{0,60}$")] = ""
    """Name in events, files, and metrics. Default: from the source."""
    source: str
    """rtsp://, http(s)://, v4l2:/dev/video0, a video file, or a folder that receives images."""


class WatchConfig(CameraSettings, DeviceConfig):
    """offnormal watch; a camera inherits what is set next to `cameras`."""

    heading: ClassVar[str | None] = "Events"

    cameras: list[CameraConfig] = Field(min_length=1)
    """The cameras."""
    sinks: Annotated[list[Sink], AS_LIST, FlagName("--sink")] = Field(default=[])
    """Where alerts are sent: KIND:TARGET, such as jsonl:events.jsonl (see: offnormal list sinks); repeatable."""
    out: Path = Path("watching")
    """Folder for images and clips of events, undelivered alerts, and alarm budgets."""
    keep_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Delete images and clips of events after this many days. Default: never."""
    keep_gb: Annotated[float, Field(gt=0)] = 20
    """Delete the oldest images and clips beyond this many gigabytes; inf: never."""
    metrics: Annotated[str, Field(pattern=r"^([^\s/]+:)?\d{1,5}$")] | None = None
    """Serve Prometheus metrics on this port of localhost, or on HOST:PORT."""

    def camera_configs(self) -> list[CameraConfig]:
        """Every camera with its name and the common settings; ConfigError if two share a name."""
        common = {key: value for key, value in set_values(self).items() if key in CameraSettings.model_fields}
        configs: dict[str, CameraConfig] = {}
        for camera in self.cameras:
            values = _merge_settings(common, set_values(camera))
            if "threshold" in camera.model_fields_set:  # replaces the common rate
                values = {key: value for key, value in values.items() if key not in ("rate", "calibrate_on")}
            elif "rate" in camera.model_fields_set:
                values.pop("threshold", None)
            try:
                config = CameraConfig.model_validate({**values, "name": camera.name or camera_name(camera.source)})
            except ValidationError as error:
                raise ConfigError(f"camera {camera.name}: {format_validation_error(error, CameraConfig)}") from None
            if config.bundle is None:
                raise ConfigError(f"camera {config.name} has no bundle: set `bundle` for it or for all cameras")
            if config.name in configs:
                raise ConfigError(
                    f"two cameras are named {config.name!r}: set another `name` for one (in a configuration file)"
                )
            configs[config.name] = config
        return list(configs.values())


def camera_name(source: str) -> str:
    """A name for a source that is valid as a file name and contains no secrets.

    >>> camera_name("rtsp://admin:pw@10.0.0.7:554/live/1"), camera_name("days/03.mp4")
    ('10.0.0.7-554-live-1', '03')
    """
    if "://" not in source:
        return _UNSAFE.sub("-", Path(source).stem).strip("-")[:60] or "camera"
    address = redact(source).partition("://")[2].partition("?")[0].rpartition("@")[2]
    return _UNSAFE.sub("-", re.sub(r"[:/]+", "-", address)).strip("-")[:60] or "camera"


def _merge_settings(common: Mapping[str, object], camera: Mapping[str, object]) -> dict[str, object]:
    """The common settings, overridden by those of a camera; nested settings are merged key by key."""
    settings = dict(common)
    for key, value in camera.items():
        settings[key] = value if key == "schedule" else merge(common.get(key), value)
    return settings
