"""When scores above a threshold become an event."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from offnormal.config.model import VerbConfig
from offnormal.config.rules import RulesConfig
from offnormal.errors import ConfigError

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
SomeSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


_DEFAULT = RulesConfig()


class EventRules(VerbConfig):
    """The rules as the machine applies them; all in seconds."""

    min_duration_s: Seconds = _DEFAULT.min_duration
    """An event starts when the score has stayed above the threshold for this long."""
    merge_gap_s: Seconds = _DEFAULT.merge_gap
    """Excursions that are no further apart than this are one event."""
    cool_down_s: Seconds = _DEFAULT.cool_down
    """No other event starts for this long after one has ended; a longer excursion starts then."""
    max_duration_s: SomeSeconds = _DEFAULT.max_duration
    """A longer event is closed and continues as a new one."""
    max_gap_s: SomeSeconds = _DEFAULT.max_gap
    """An event ends where no score arrives for longer than this."""

    @classmethod
    def of(cls, chosen: RulesConfig) -> EventRules:
        """The rules of a configuration, without its hysteresis, which belongs to the threshold."""
        return cls(**{f"{name}_s": value for name, value in chosen if name != "hysteresis"})


def low_threshold(threshold: float, normals: float, hysteresis: float) -> float:
    """Where an event closes: below the threshold by a share of its distance from what is usual.

    normals: a usual score, such as the median of normal ones. hysteresis: 0 (at the threshold itself) to below 1.
    Raises ConfigError for another share.

    >>> low_threshold(10.0, 2.0, 0.25)
    8.0
    """
    if not 0 <= hysteresis < 1:
        raise ConfigError(f"hysteresis {hysteresis:g}: expected a share from 0 to below 1, such as 0.2")
    distance = threshold - normals
    return threshold - hysteresis * distance if math.isfinite(distance) and distance > 0 else threshold
