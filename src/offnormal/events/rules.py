"""What makes an event of scores above a threshold."""

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
    """An event opens once the score has been above the threshold for so long without a break."""
    merge_gap_s: Seconds = _DEFAULT.merge_gap
    """It stays open, and goes on, when the score is above the threshold again no later than this after its end."""
    cool_down_s: Seconds = _DEFAULT.cool_down
    """After the end of an event no other one begins for so long; what lasts longer than that begins then."""
    max_length_s: SomeSeconds = _DEFAULT.max_length
    """An event that lasts longer is closed, and goes on as another one."""
    gap_s: SomeSeconds = _DEFAULT.gap
    """Where scores are further apart than this, nothing is known in between: an event ends with the first of them."""

    @classmethod
    def of(cls, chosen: RulesConfig) -> EventRules:
        """The rules of a configuration, but for its hysteresis, which is a matter of thresholds."""
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
