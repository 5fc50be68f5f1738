"""Types for configuration values that people write as text: parsed once, when a configuration is created.

Each value is written to JSON as text, so that a run's config.yaml looks like the input. A parser raises ValueError
with the expected format.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from offnormal.errors import ConfigError
from offnormal.types import Rate

_UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Text:
    """Marks a type that people write as text: `parse` reads it, `show` prints it and writes it to JSON.

    label: what help calls such a value.
    """

    parse: Callable[[object], object]
    show: Callable[..., str] | None = None
    label: str = "STR"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = core_schema.no_info_before_validator_function(self.parse, handler(source))
        if self.show is not None:
            schema["serialization"] = core_schema.plain_serializer_function_ser_schema(self.show, when_used="json")
        return schema


def _parse_duration(value: object) -> float:
    """A duration in seconds, from a number with or without a unit.

    >>> [_parse_duration(text) for text in ("5s", "500ms", "10m", "2 h", 0.5)]
    [5.0, 0.5, 600.0, 7200.0, 0.5]
    """
    text = "" if isinstance(value, bool) else str(value).replace(" ", "").lower()
    match = re.fullmatch(r"(\d+\.?\d*(?:e-?\d+)?|\.\d+)(ms|s|m|min|h)?", text)
    if match is None:
        raise ValueError("expected a duration such as 5s, 500ms, 10m, or 2h")
    return float(match[1]) * _UNITS[match[2] or ""]


def _format_duration(seconds: float) -> str:
    """A duration as text, in the largest unit that gives a whole number.

    >>> _format_duration(0.25), _format_duration(90.0), _format_duration(600.0), _format_duration(7200.0)
    ('0.25s', '90s', '10m', '2h')
    """
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.12g}s"


def _require_positive(seconds: float) -> float:
    if seconds == 0:
        raise ValueError("expected a duration above 0, such as 5s, 500ms, 10m, or 2h")
    return seconds


def _parse_size(value: object) -> int | tuple[int, int]:
    """A size in pixels: N (square, or the area of a square) or (H, W); from a number, `HxW`, or [H, W].

    >>> _parse_size("256"), _parse_size("256x320"), _parse_size([256, 320])
    (256, (256, 320), (256, 320))
    """
    text = "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value).replace(" ", "").lower()
    if not re.fullmatch(r"\d+(x\d+)?", text) or any(int(side) < 16 for side in text.split("x")):
        raise ValueError("expected N or HxW in pixels, at least 16, such as 256 or 256x320")
    height, _, width = text.partition("x")
    return (int(height), int(width)) if width else int(height)


def _format_size(size: int | tuple[int, int]) -> str:
    """A size as text.

    >>> _format_size(256), _format_size((256, 320))
    ('256', '256x320')
    """
    return str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}"


def _parse_split(value: object) -> tuple[float, float, float]:
    """Percentages of training, test, and calibration with the sum 100, from `50/40/10` or [50, 40, 10].

    >>> _parse_split("50/40/10")
    (50.0, 40.0, 10.0)
    """
    text = "/".join(map(str, value)) if isinstance(value, list | tuple) else str(value).replace(" ", "")
    match = re.fullmatch(r"(\d+\.?\d*)/(\d+\.?\d*)/(\d+\.?\d*)", text)
    shares = [float(share) for share in match.groups()] if match else [0.0]
    if min(shares) <= 0 or abs(sum(shares) - 100) > 1e-6:
        raise ValueError("expected three shares above 0 with the sum 100, such as 50/40/10 (training/test/calibration)")
    train, test, calibration = shares
    return train, test, calibration


def format_split(split: tuple[float, float, float]) -> str:
    """A split as text.

    >>> format_split((50.0, 40.0, 10.0))
    '50/40/10'
    """
    return "/".join(f"{share:.10g}" for share in split)


def _parse_rate(value: object) -> Rate:
    """A false-alarm rate: a share such as 0.01 or 1%, or a number of alarms such as 2/hour."""
    try:
        return Rate.parse(value if isinstance(value, Rate) else str(value))
    except ConfigError as error:
        raise ValueError(str(error)) from None


def format_rate(rate: Rate) -> str:
    """A rate as text that `_parse_rate` reads.

    >>> format_rate(_parse_rate("1%")), format_rate(_parse_rate("2 / Hour"))
    ('0.01', '2/hour')
    """
    return f"{rate.value!r}" if rate.is_share else f"{rate.value:g}/{rate.per}"


def _require_event_rate(rate: Rate) -> Rate:
    if rate.is_share:
        raise ValueError("expected a number of events per hour or day, such as 2/day or 1/hour")
    return rate


def _parse_device(value: object) -> str:
    """The name of a device; whether it exists is checked on use."""
    text = str(value).strip().lower()
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise ValueError("expected auto, cpu, cuda, or cuda:N")
    return text


def parse_names(value: object) -> object:
    """A list of names, from a list or comma-separated text.

    >>> parse_names("a, b"), parse_names(["a,b"])
    (['a', 'b'], ['a,b'])
    """
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str | Path) else value


Duration = Annotated[float, Text(_parse_duration, _format_duration, "DURATION")]
PositiveDuration = Annotated[Duration, AfterValidator(_require_positive)]
Size = Annotated[int | tuple[int, int], Text(_parse_size, _format_size, "SIZE")]
Split = Annotated[tuple[float, float, float], Text(_parse_split, format_split, "A/B/C")]
FalseAlarmRate = Annotated[Rate, Text(_parse_rate, format_rate, "RATE")]
EventRate = Annotated[FalseAlarmRate, AfterValidator(_require_event_rate)]
Confidence = Annotated[float, Field(ge=50, lt=100)]  # percent
Device = Annotated[str, Text(_parse_device, str, "DEVICE")]
Names = Annotated[list[str], BeforeValidator(parse_names)]
AS_LIST = BeforeValidator(_as_list)  # one value for a list, as from an environment variable
