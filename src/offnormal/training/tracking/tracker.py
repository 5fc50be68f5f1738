"""The interface of experiment trackers, which all follow the run's log.jsonl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class Point:
    """Values of one step."""

    step: int
    time_s: float  # Unix time of the log line
    values: dict[str, float]  # by name, such as train/generator/contextual


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """The run that is tracked."""

    folder: Path
    project: str
    name: str


class TrackedRun(BaseModel):
    """The state of a run in a tracker, stored so that a later process continues with it."""

    model_config = ConfigDict(frozen=True)

    project: str
    name: str
    id: str | None = None  # of the tracked run; None: not created yet
    location: str | None = None  # where to find it
    configured: bool = False  # the configuration was sent
    bytes_sent: int = 0  # of the log
    step: int = 0  # last step sent


class Tracker(Protocol):
    """A run that is open in a tracker. Any method may raise anything; the tracker is then reopened.

    The constructor takes a `RunInfo` and the `ident` of an earlier tracker of this run, or None for a new run. After a
    failure, the same values may be sent again.
    """

    package: ClassVar[str]  # required package
    ident: str  # of the tracked run
    location: str  # where to find it, without secrets

    def __init__(self, info: RunInfo, ident: str | None) -> None: ...

    @staticmethod
    def check() -> None:
        """Raise ConfigError with advice if the tracker cannot be used on this machine; called before training."""
        ...

    def configure(self, values: Mapping[str, object]) -> None:
        """Log the nested effective configuration; called once."""
        ...

    def log_points(self, points: Sequence[Point]) -> None:
        """Log values, ordered by step."""
        ...

    def rewind(self, step: int) -> None:
        """Called when the run continues from a checkpoint: later steps are repeated."""
        ...

    def log_summary(self, values: Mapping[str, float | str], step: int) -> None:
        """Log values of the run as a whole, such as evaluation/image_AUROC."""
        ...

    def log_image(self, name: str, png: bytes, step: int) -> None:
        """Log an image by name, such as curves/generator."""
        ...

    def close(self, *, failed: bool) -> None:
        """Close the run after everything was sent."""
        ...


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Flatten nested mappings to one with dotted names.

    >>> flatten({"detector": {"name": "padim", "rank": 8}, "size": "256"})
    {'detector.name': 'padim', 'detector.rank': 8, 'size': '256'}
    """
    flattened: dict[str, object] = {}
    for key, value in values.items():
        flattened |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flattened
