"""The base class of sinks, their options, and the messages that they deliver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from offnormal.config.model import VerbConfig
from offnormal.errors import OffnormalError
from offnormal.events.event import event_from_json, event_to_json
from offnormal.types import Event

Transition = Literal["opened", "closed"]
SECRET_VARIABLE = "OFFNORMAL_WEBHOOK_SECRET"


class DeliveryError(OffnormalError):
    """A message could not be delivered. It is tried again unless the receiver rejected it for good."""

    def __init__(self, message: str, *, refused: bool = False, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.refused = refused  # the receiver will never accept this message
        self.wait_s = wait_s  # that the receiver asked to wait


class _StoredMessage(BaseModel):
    transition: Transition
    event: dict[str, object]


@dataclass(frozen=True, slots=True)
class Message:
    """An event that opened or closed, as it is sent to sinks."""

    transition: Transition
    event: Event
    folder: Path | None = None  # base of the paths of its images and clip

    @property
    def id(self) -> str:
        """Stays the same when the message is sent again, so that receivers can drop duplicates."""
        return f"{self.event.id}-{self.transition}"

    def file(self, name: Literal["snapshot", "heat_map", "clip"]) -> Path | None:
        """Path of an image or the clip; None if the event has none or the file was deleted."""
        relative: str | None = getattr(self.event, name)
        path = None if relative is None or self.folder is None else self.folder / relative
        return path if path is not None and path.is_file() else None

    def to_json(self) -> dict[str, object]:
        """Plain values: id, transition, and the event as `event_to_json` writes it."""
        return {"id": self.id, "transition": self.transition, "event": event_to_json(self.event)}

    @classmethod
    def from_json(cls, values: Mapping[str, object], folder: Path | None = None) -> Message:
        """The message that `to_json` wrote."""
        stored = _StoredMessage.model_validate(values)
        return cls(stored.transition, event_from_json(stored.event), folder)


class SinkOptions(VerbConfig):
    """Options of every sink."""

    name: str = Field(default="", pattern=r"^[\w .-]{0,60}$")
    """Name under which undelivered messages are stored; default: kind and target."""
    when: list[Transition] = Field(default=[])
    """Messages to send: opened, closed; the default depends on the sink."""
    each: Literal["incident", "event"] | None = None
    """incident: only events that are alerted, such as the first of an incident; the default depends on the sink."""


class Sink(ABC):
    """Delivers events to one target; used by one thread at a time, may be slow or fail."""

    Options: ClassVar[type[SinkOptions]]
    default_when: ClassVar[tuple[Transition, ...]] = ("closed",)
    default_each: ClassVar[Literal["incident", "event"]] = "event"
    target_option: ClassVar[str]  # the option that `kind:target` sets
    path: Path | None = None  # the file that it writes; None: none, or several

    def __init__(self, options: SinkOptions) -> None:
        self.transitions: tuple[Transition, ...] = tuple(options.when) or self.default_when
        self.each = options.each or self.default_each

    def takes(self, message: Message) -> bool:
        """Whether this message is sent to it."""
        return message.transition in self.transitions and (self.each == "event" or message.event.is_alerted)

    @property
    @abstractmethod
    def description(self) -> str:
        """Its name in logs, without secrets."""

    @property
    def identity(self) -> str:
        """Distinguishes unnamed sinks of one kind; stays the same after a restart."""
        return self.description

    @abstractmethod
    def deliver(self, message: Message) -> None:
        """Deliver one message, possibly a second time; DeliveryError if that fails."""

    def idle(self) -> None:
        """Called every few seconds while no message is waiting."""
        return

    def close(self) -> None:
        """Release resources."""
        return


class CallbackSink(Sink):
    """Passes events to a function, in a separate thread."""

    Options = SinkOptions
    default_when = ("opened", "closed")
    target_option = "name"

    def __init__(self, callback: Callable[[Event], None]) -> None:
        super().__init__(SinkOptions())
        self._callback = callback

    @property
    def description(self) -> str:
        """Its name in logs."""
        return "this program"

    def deliver(self, message: Message) -> None:
        """Pass the event to the function."""
        self._callback(message.event)
