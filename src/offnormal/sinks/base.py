"""What every sink is: it delivers one message at a time, or says why it could not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from offnormal.config.model import VerbConfig
from offnormal.errors import OffnormalError
from offnormal.events.form import event_from_json, event_to_json
from offnormal.types import Event

What = Literal["opened", "closed"]


class DeliveryError(OffnormalError):
    """A message could not be delivered; it is tried again unless it is refused for good."""

    def __init__(self, message: str, *, refused: bool = False, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.refused = refused  # this message will never be taken
        self.wait_s = wait_s  # what the other side asked to wait


@dataclass(frozen=True, slots=True)
class Message:
    """An event that opened, or is over, on its way to where people look."""

    what: What
    event: Event
    folder: Path | None = None  # that the paths of its pictures and its clip are relative to

    @property
    def id(self) -> str:
        """The same whenever the message is delivered again, for whoever wants to drop the second one."""
        return f"{self.event.id}-{self.what}"

    def file(self, name: Literal["snapshot", "heat_map", "clip"]) -> Path | None:
        """Where a picture or the clip lies; None where there is none (any more)."""
        path: str | None = getattr(self.event, name)
        found = None if path is None or self.folder is None else self.folder / path
        return found if found is not None and found.is_file() else None

    def to_json(self) -> dict[str, Any]:
        """Plain values: id, what, and the event in the form of `events.form`."""
        return {"id": self.id, "what": self.what, "event": event_to_json(self.event)}

    @classmethod
    def from_json(cls, values: dict[str, Any], folder: Path | None = None) -> Message:
        """The message of `to_json`."""
        return cls(values["what"], event_from_json(values["event"]), folder)


class SinkOptions(VerbConfig):
    """What can be chosen of every sink."""

    name: str = Field(default="", pattern=r"^[\w .-]{0,60}$")
    """Under which what is undelivered is kept; default: kind and target."""
    when: list[What] = Field(default=[])
    """Which messages: opened, closed; default: what suits the sink."""


class Sink(ABC):
    """A place that events are delivered to; used by one thread at a time, and allowed to be slow or to fail."""

    Options: ClassVar[type[SinkOptions]]
    default_when: ClassVar[tuple[What, ...]] = ("closed",)
    target_option: ClassVar[str]  # the option that `kind:target` gives

    def __init__(self, options: SinkOptions) -> None:
        self.wants: tuple[What, ...] = tuple(options.when) or self.default_when

    @property
    @abstractmethod
    def shown(self) -> str:
        """What it is in logs, without secrets."""

    @abstractmethod
    def deliver(self, message: Message) -> None:
        """Deliver one message, again if need be; DeliveryError when it could not be."""

    def idle(self) -> None:
        """Called every few seconds while there is nothing to deliver."""
        return

    def close(self) -> None:
        """Let go of what is held."""
        return
