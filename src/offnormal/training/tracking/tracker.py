"""What every experiment tracker can do; the run's own log.jsonl is what all of them follow."""

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
    time_s: float  # since 1970, when it was logged
    values: dict[str, float]  # by names such as train/generator/contextual


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The run that is shown."""

    folder: Path
    project: str
    name: str


class Known(BaseModel):
    """What is kept of a run in a tracker, so that a later process goes on with it."""

    model_config = ConfigDict(frozen=True)

    project: str
    name: str
    id: str | None = None  # by which the tracked run is found again; None: not shown there yet
    place: str | None = None  # where people look
    configured: bool = False  # whether it has the configuration
    sent: int = 0  # bytes of the log
    step: int = 0  # of the last event in them that has one


class Tracker(Protocol):
    """A run opened in a tracker; any method may raise anything, after which the tracker is opened anew.

    The constructor takes an `About` and the `ident` that an earlier one had, or None for a run not shown before. What
    was sent before a failure may be sent again, equal to the last bit.
    """

    package: ClassVar[str]  # to be imported
    ident: str  # by which the tracked run is found again
    place: str  # where people look, without secrets

    def __init__(self, about: About, ident: str | None) -> None: ...

    @staticmethod
    def check() -> None:
        """ConfigError with what to do when nothing can be shown on this machine, before anything is learned."""
        ...

    def configure(self, values: Mapping[str, object]) -> None:
        """The effective configuration, nested; once."""
        ...

    def points(self, points: Sequence[Point]) -> None:
        """Values in the order of their steps."""
        ...

    def rewind(self, step: int) -> None:
        """Steps after this one are taken anew: the run goes on from a checkpoint."""
        ...

    def summary(self, values: Mapping[str, float | str], step: int) -> None:
        """What is known of the run as a whole, such as evaluation/image_AUROC."""
        ...

    def picture(self, name: str, png: bytes, step: int) -> None:
        """A picture by a name such as curves/generator."""
        ...

    def close(self, *, failed: bool) -> None:
        """Everything was sent; the fit has failed or not."""
        ...


def flat(values: Mapping[str, object], within: str = "") -> dict[str, object]:
    """Nested mappings as one with dotted names.

    >>> flat({"detector": {"name": "padim", "rank": 8}, "size": "256"})
    {'detector.name': 'padim', 'detector.rank': 8, 'size': '256'}
    """
    found: dict[str, object] = {}
    for key, value in values.items():
        found |= flat(value, f"{within}{key}.") if isinstance(value, Mapping) else {f"{within}{key}": value}
    return found
