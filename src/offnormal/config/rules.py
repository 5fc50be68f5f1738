"""The event rules: the one definition of an alarm, for every verb that counts alarms."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from offnormal.config.fields import Duration, PositiveDuration
from offnormal.config.model import Flattened, VerbConfig


class RulesConfig(VerbConfig):
    """How scores above the threshold become alarms."""

    heading: ClassVar[str | None] = "Alarms"

    min_duration: Duration = 1.0
    """An alarm starts when the score has stayed above the threshold for this long."""
    merge_gap: Duration = 5.0
    """Excursions that are no further apart than this are one alarm."""
    cool_down: Duration = 0.0
    """No other alarm starts for this long after one has ended."""
    max_duration: PositiveDuration = 600.0
    """A longer alarm is closed and continues as a new one."""
    max_gap: PositiveDuration = 3.0
    """An alarm ends where no score arrives for longer than this."""
    hysteresis: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """How far the score must fall before an alarm ends: share of the distance from threshold to typical score."""

    @model_validator(mode="after")
    def _can_open(self) -> RulesConfig:
        if self.max_duration <= self.min_duration:
            raise ValueError(
                f"max_duration {self.max_duration:g}s is not above min_duration {self.min_duration:g}s: raise it"
            )
        return self


class AlarmConfig(VerbConfig):
    """A verb that counts alarms."""

    rules: Annotated[RulesConfig, Flattened(file_flag="--rules")] = RulesConfig()
    """YAML file with any of the rules below; flags win."""
