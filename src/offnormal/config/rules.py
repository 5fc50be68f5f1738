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
    """Runs above the threshold that are no further apart than this are one alarm."""
    cool_down: Duration = 0.0
    """No alarm starts for this long after the end of another."""
    max_duration: PositiveDuration = 600.0
    """A longer alarm is closed and continues as a new one."""
    max_gap: PositiveDuration = 3.0
    """An alarm ends if no score follows for longer than this."""
    incident_gap: Duration = 600.0
    """An alarm that starts sooner than this after the end of the last one belongs to the same incident."""
    renew: PositiveDuration = 1800.0
    """An incident that lasts longer is alerted again, and counts again."""
    hysteresis: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """How far the score must fall below the threshold to end an alarm: share of the distance to the median score."""

    @model_validator(mode="after")
    def _check_durations(self) -> RulesConfig:
        if self.max_duration <= self.min_duration:
            raise ValueError(
                f"max_duration {self.max_duration:g}s is not longer than min_duration {self.min_duration:g}s: raise it"
            )
        return self


class AlarmConfig(VerbConfig):
    """Configuration of a verb that counts alarms."""

    rules: Annotated[RulesConfig, Flattened(file_flag="--rules")] = RulesConfig()
    """YAML file with any of the rules below; flags win."""
