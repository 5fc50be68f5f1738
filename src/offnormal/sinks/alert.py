"""Events to people: mail, MQTT, chat and whatever else Apprise knows, with the picture attached."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr, field_validator

from offnormal.errors import ConfigError
from offnormal.events.event import iso
from offnormal.redact import redact_webhooks
from offnormal.sinks.base import DeliveryError, Message, Sink, SinkOptions, What
from offnormal.types import Event

_WHOLE = 2  # attempts with all that is to be attached, before less is tried, too
_KINDS: dict[str | None, str] = {"high": "failure", "medium": "warning", "low": "info", None: "warning"}


class AlertOptions(SinkOptions):
    """What can be chosen of an alert through Apprise."""

    url: SecretStr
    """Address as Apprise has them: mailto://, mqtt://, slack://, tgram:// ... Most of them hold a password or token."""
    picture: bool = True
    """Attach the heat map, or where there is none the snapshot."""
    clip: bool = False
    """Attach the clip, too; messages of closed events alone have one."""

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: SecretStr) -> SecretStr:
        if "://" not in value.get_secret_value():
            raise ValueError("expected an Apprise address such as mailto://user:password@example.org")
        return value


class AlertSink(Sink):
    """Notifies through one Apprise address.

    Raises ConfigError where Apprise is not installed, or does not know the address.
    """

    Options = AlertOptions
    default_when = ("opened",)
    target_option = "url"

    def __init__(self, options: AlertOptions) -> None:
        super().__init__(options)
        url = options.url.get_secret_value()
        scheme = url.partition("://")[0]
        try:
            import apprise
        except ImportError:
            raise ConfigError(f"an alert to {scheme}:// needs Apprise: pip install 'offnormal[alerts]'") from None
        with _said():
            found = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if found is None:
            raise ConfigError(
                f"Apprise cannot send to this {scheme}:// address: its form is wrong, or the package it needs is "
                "missing (MQTT: paho-mqtt); each kind's form is on the page of its name in Apprise's documentation"
            )
        if not found.enabled:
            raise ConfigError(
                f"Apprise needs another package for {scheme}:// addresses: pip install 'offnormal[alerts]'"
            )
        server: Any = found
        self._server = server
        self._apprise = apprise.Apprise()
        self._apprise.add(found)
        self._shown = f"alert {redact_webhooks(server.url(privacy=True)).partition('?')[0]}"
        self._secret = url
        self._picture, self._clip = options.picture, options.clip
        self._refused = ("", 0)  # the message tried last, and how often it was not taken

    @property
    def shown(self) -> str:
        """The address as Apprise shows it, without its secrets."""
        return self._shown

    def deliver(self, message: Message) -> None:
        """Notify; DeliveryError when Apprise says that it could not.

        A message that was not taken some times is then tried with less attached, too, for its attachment may be why.
        """
        picture = message.file("heat_map") or message.file("snapshot") if self._picture else None
        clip = message.file("clip") if self._clip else None
        files = [path for path in (picture, clip) if path is not None] if self._server.attachment_support else []
        refused = self._refused[1] if self._refused[0] == message.id else 0
        with _said() as said:
            taken = self._notified(message, files)
            for kept in range(len(files) - 1, -1, -1):
                if taken or refused < _WHOLE:
                    break
                taken = self._notified(message, files[:kept], files[kept:])
        self._refused = (message.id, refused + 1)
        if not taken:
            raise DeliveryError(redact_webhooks("; ".join(said) or "Apprise could not deliver it", self._secret))

    def _notified(self, message: Message, files: Sequence[Path], left_out: Sequence[Path] = ()) -> bool:
        names = ", ".join(path.name for path in left_out)
        missing = f"\nNot attached, since the message was not taken with it: {names}" if names else ""
        taken = self._apprise.notify(
            title=title(message.event, message.what),
            body=body(message.event) + missing,
            body_format="text",  # else mails take it for HTML, and lose its lines
            notify_type=_KINDS[message.event.severity],
            attach=[str(path) for path in files] or None,
        )
        return bool(taken)


def title(event: Event, what: What) -> str:
    """One line: which camera, what, and since when.

    >>> from offnormal.events.event import camera_event
    >>> title(camera_event("porch", "no_frames", 0, 5, is_over=True), "closed")
    'porch: no frames is over, since 1970-01-01 00:00:00 UTC'
    """
    kind = event.kind.replace("_", " ")
    severity = f" ({event.severity})" if event.severity is not None else ""
    over = " is over" if what == "closed" else ""
    return f"{event.camera}: {kind}{severity}{over}, since {event.start:%Y-%m-%d %H:%M:%S} UTC"


def body(event: Event) -> str:
    """What is known of the event, a line each."""
    lines = [f"Camera {event.camera}, {event.kind.replace('_', ' ')} from {iso(event.start)} to {iso(event.end)}"]
    if event.state == "open":
        lines[0] += " and still on"
    if event.detail:
        lines.append(event.detail)
    if event.peak_score is not None and event.threshold is not None:
        rare = "" if event.p_value is None else f", p-value {event.p_value:.2g}"
        lines.append(f"Highest score {event.peak_score:.4g} at threshold {event.threshold:.4g}{rare}")
    lines += [f"Missing: {problem}" for problem in event.problems]
    lines.append(f"Event {event.id}")
    return "\n".join(lines)


@contextmanager
def _said() -> Iterator[list[str]]:
    """What Apprise logs of its troubles in this thread, kept for the error and out of the log: it names addresses."""
    said: list[str] = []
    mine = threading.get_ident()

    class Kept(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if record.thread != mine:
                return True
            if record.levelno >= logging.WARNING:
                said.append(record.getMessage())
            return False

    logger, kept = logging.getLogger("apprise"), Kept()
    logger.addFilter(kept)
    try:
        yield said
    finally:
        logger.removeFilter(kept)
