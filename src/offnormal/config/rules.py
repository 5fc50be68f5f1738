"""The event rules as people choose them: the one definition of an alarm, for every verb that counts alarms."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from offnormal.config.fields import Duration, PositiveDuration
from offnormal.config.model import Flattened, VerbConfig


class RulesConfig(VerbConfig):
    """How long, how far apart, and how often scores must be above the threshold to make an alarm."""

    heading: ClassVar[str | None] = "Alarms"

    min_duration: Duration = 1.0
    """An alarm opens once the score has been above the threshold for this long without a break."""
    merge_gap: Duration = 5.0
    """It stays open when the score is above the threshold again no later than this after its end."""
    cool_down: Duration = 0.0
    """After the end of an alarm no other one starts for this long."""
    max_length: PositiveDuration = 600.0
    """An alarm that lasts longer is closed and continues as another one."""
    gap: PositiveDuration = 3.0
    """Where scores are further apart than this, nothing is known in between: an alarm ends before the gap."""
    hysteresis: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the threshold's distance from usual scores by which the score must fall before an alarm ends."""

    @model_validator(mode="after")
    def _can_open(self) -> RulesConfig:
        if self.max_length <= self.min_duration:
            raise ValueError(
                f"max_length {self.max_length:g}s with min_duration {self.min_duration:g}s: an alarm must be allowed "
                "to last longer than it takes to open"
            )
        return self


class AlarmConfig(VerbConfig):
    """What makes an alarm of scores."""

    rules: Annotated[RulesConfig, Flattened(file_flag="--rules")] = RulesConfig()
    """YAML file with the rules below by their names; single ones win."""
