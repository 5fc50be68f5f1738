"""What every sink is, and sinks from what a user says: `jsonl:events.jsonl`, or a mapping in a YAML file."""

from __future__ import annotations

import difflib
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, Field, ValidationError

from offnormal import registry
from offnormal.config.model import VerbConfig
from offnormal.config.validation import format_validation_error
from offnormal.errors import ConfigError, OffnormalError
from offnormal.events.event import event_from_json, event_to_json
from offnormal.redact import redact_webhooks
from offnormal.types import Event

What = Literal["opened", "closed"]
SECRET_VARIABLE = "OFFNORMAL_WEBHOOK_SECRET"


class DeliveryError(OffnormalError):
    """A message could not be delivered; it is tried again unless it is refused for good."""

    def __init__(self, message: str, *, refused: bool = False, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.refused = refused  # this message will never be taken
        self.wait_s = wait_s  # what the other side asked to wait


class _StoredMessage(BaseModel):
    what: What
    event: dict[str, object]


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

    def to_json(self) -> dict[str, object]:
        """Plain values: id, what, and the event in the form of `events.event`."""
        return {"id": self.id, "what": self.what, "event": event_to_json(self.event)}

    @classmethod
    def from_json(cls, values: Mapping[str, object], folder: Path | None = None) -> Message:
        """The message of `to_json`."""
        stored = _StoredMessage.model_validate(values)
        return cls(stored.what, event_from_json(stored.event), folder)


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

    @property
    def identity(self) -> str:
        """What a sink without a name is told by from others of its kind, from one start to the next."""
        return self.shown

    @abstractmethod
    def deliver(self, message: Message) -> None:
        """Deliver one message, again if need be; DeliveryError when it could not be."""

    def idle(self) -> None:
        """Called every few seconds while there is nothing to deliver."""
        return

    def close(self) -> None:
        """Let go of what is held."""
        return


class CallbackSink(Sink):
    """Hands events to a function, in a thread of its own."""

    Options = SinkOptions
    default_when = ("opened", "closed")
    target_option = "name"

    def __init__(self, callback: Callable[[Event], None]) -> None:
        super().__init__(SinkOptions())
        self._callback = callback

    @property
    def shown(self) -> str:
        """What it is in logs."""
        return "this program"

    def deliver(self, message: Message) -> None:
        """Hand the event over."""
        self._callback(message.event)


def open_sinks(
    said: Iterable[str | Mapping[str, object]], environment: Mapping[str, str] = os.environ
) -> dict[str, Sink]:
    """Sinks by names that stay the same from one start to the next, in the order given.

    Raises ConfigError for kinds, options and targets that are not known, and for two sinks of one name.
    """
    found: dict[str, Sink] = {}
    for one in said:
        kind, options = _read(one)
        if kind == "webhook" and "secret" not in options and environment.get(SECRET_VARIABLE):
            options["secret"] = environment[SECRET_VARIABLE]
        made = registry.resolve("sinks", kind)
        try:
            checked = made.Options.model_validate(options)
        except ValidationError as error:
            hidden = [repr(options[key]) for key in ("secret", made.target_option) if key in options]
            raise ConfigError(
                f"sink {kind}: {redact_webhooks(format_validation_error(error, made.Options), *hidden)}"
            ) from None
        sink: Sink = made(checked)
        name = checked.name or f"{kind}-{hashlib.sha256(sink.identity.encode()).hexdigest()[:8]}"
        if name in found:
            raise ConfigError(
                f"two sinks are called {name!r} ({sink.shown}): leave one out, or give them names of their own"
            )
        found[name] = sink
    return found


def _read(said: str | Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """Kind and options of `kind:target`, or of a mapping with a key `kind`."""
    known = registry.names("sinks")
    if isinstance(said, str):
        kind, colon, target = said.partition(":")
        if not colon or not target or kind not in known:
            near = difflib.get_close_matches(kind.lower(), known, n=1)
            hint = f"did you mean {near[0]}:...? " if near else ""
            raise ConfigError(
                f"sink {redact_webhooks(said)!r}: {hint}expected KIND:TARGET such as jsonl:events.jsonl or "
                f"webhook:http://127.0.0.1:9000/hook; kinds are {', '.join(known)}"
            )
        return kind, {registry.resolve("sinks", kind).target_option: target}
    options = dict(said)
    kind = str(options.pop("kind", ""))
    if not kind:
        raise ConfigError(f"a sink with keys {', '.join(options)}: it needs `kind`, one of {', '.join(known)}")
    return kind, options
