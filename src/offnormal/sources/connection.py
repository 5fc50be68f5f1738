"""Whether a source is online and when to try again: a pure state machine on times that it is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from offnormal.backoff import delay_s
from offnormal.errors import ConfigError

State = Literal["connecting", "online", "stalled", "offline"]
Step = Literal["wait", "connect", "abandon"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a source is waited for, in seconds."""

    open_s: float = 10.0  # from connecting to the first frame
    stall_s: float = 5.0  # between two frames
    retry_s: float = 0.5  # before the first attempt to reconnect; doubled after each one that failed
    cap_s: float = 30.0  # at most, between two attempts
    settled_s: float = 10.0  # online for so long: the next trouble is a new one
    jitter: float = 0.3  # share (0-1) of a waiting time that chance takes off, so that cameras do not return at once

    def __post_init__(self) -> None:
        waits = (self.open_s, self.stall_s, self.retry_s, self.cap_s)
        if not min(waits) > 0 or not self.settled_s >= 0 or not 0 <= self.jitter <= 1:
            raise ConfigError(f"{self}: expected seconds above 0 and a jitter from 0 to 1")

    def delay_s(self, failures: int, chance: float) -> float:
        """Seconds to wait after so many failures in a row (from 1); chance: uniform in 0-1."""
        return delay_s(failures, first_s=self.retry_s, cap_s=self.cap_s, jitter=self.jitter, chance=chance)


EVER_PATIENT = Patience(open_s=math.inf, stall_s=math.inf)  # with a source that gives frames when it has some


class Connection:
    """Connecting, online, stalled or offline; a stall, an end and an error all lead to another attempt, for ever.

    `step` says what to do now, `wakes_s` when to ask next unless something happens before.
    """

    def __init__(self, patience: Patience, now_s: float, chance: Callable[[], float]) -> None:
        self.patience = patience
        self.state: State = "connecting"
        self.since_s = now_s  # of the state
        self.reason = ""  # of the last trouble
        self.attempts = 0
        self.failures = 0  # in a row
        self._chance = chance
        self._retry_s: float | None = now_s  # None: connected, or trying to
        self._deadline_s = math.inf

    @property
    def wakes_s(self) -> float:
        """The latest moment at which to call `step` again."""
        return self._deadline_s if self._retry_s is None else self._retry_s

    def step(self, now_s: float) -> Step:
        """What to do now: connect, abandon what is connected, or wait."""
        if self._retry_s is not None:
            if now_s < self._retry_s:
                return "wait"
            self.attempts += 1
            self._retry_s, self._deadline_s = None, now_s + self.patience.open_s
            self._enter("connecting", now_s)
            return "connect"
        if now_s < self._deadline_s:
            return "wait"
        waited_s = self.patience.stall_s if self.state == "online" else self.patience.open_s
        self._trouble("stalled", now_s, f"stalled: no frame for {waited_s:g} s")
        return "abandon"

    def frame(self, now_s: float) -> None:
        """A frame came."""
        self._deadline_s = now_s + self.patience.stall_s
        if self.state != "online":
            self._enter("online", now_s)

    def failed(self, now_s: float, reason: str) -> None:
        """It ended, broke or was refused."""
        self._trouble("offline", now_s, reason)

    def _trouble(self, state: State, now_s: float, reason: str) -> None:
        settled = self.state == "online" and now_s - self.since_s >= self.patience.settled_s
        self.failures = 1 if settled else self.failures + 1
        self.reason = reason
        self._retry_s = now_s + self.patience.delay_s(self.failures, self._chance())
        self._deadline_s = math.inf
        self._enter(state, now_s)

    def _enter(self, state: State, now_s: float) -> None:
        self.state, self.since_s = state, now_s
