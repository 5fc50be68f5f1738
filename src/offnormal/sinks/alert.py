"""Send events to people by mail, MQTT, chat, and other services that Apprise supports, with the image attached."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr, field_validator

from offnormal.errors import ConfigError, score_text
from offnormal.events.event import iso
from offnormal.redact import redact_webhooks
from offnormal.sinks.base import DeliveryError, Message, Sink, SinkOptions, Transition
from offnormal.sinks.deadline import TimedCalls
from offnormal.types import Event

_FULL_ATTEMPTS = 2  # attempts with every attachment before fewer are tried
_LIMIT_S = 120.0  # for one attempt with all its attachments
_NOTIFY_TYPES: dict[str | None, str] = {"high": "failure", "medium": "warning", "low": "info", None: "warning"}


class AlertOptions(SinkOptions):
    """Options of an alert sent with Apprise."""

    url: SecretStr
    """Apprise address: mailto://, mqtt://, slack://, tgram:// ... Most contain a password or token."""
    image: bool = True
    """Attach the heat map, or the snapshot if there is no heat map."""
    clip: bool = False
    """Attach the clip; only messages of closed events have one."""

    @field_validator("url")
    @classmethod
    def _check_address(cls, value: SecretStr) -> SecretStr:
        if "://" not in value.get_secret_value():
            raise ValueError("expected an Apprise address such as mailto://user:password@example.org")
        return value


class AlertSink(Sink):
    """Sends notifications to one Apprise address.

    Raises ConfigError if Apprise is not installed or does not support the address.
    """

    Options = AlertOptions
    default_when = ("opened",)
    default_each = "incident"
    target_option = "url"

    def __init__(self, options: AlertOptions) -> None:
        super().__init__(options)
        url = options.url.get_secret_value()
        scheme = url.partition("://")[0]
        try:
            import apprise
        except ImportError:
            raise ConfigError(f"alerts to {scheme}:// need Apprise: pip install 'offnormal[alerts]'") from None
        with _apprise_errors():
            service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if service is None:
            raise ConfigError(
                f"Apprise cannot send to this {scheme}:// address: its format is wrong, or a package is missing "
                "(MQTT: paho-mqtt); Apprise's documentation describes the format of each service"
            )
        if not service.enabled:
            raise ConfigError(
                f"Apprise needs another package for {scheme}:// addresses: pip install 'offnormal[alerts]'"
            )
        server: Any = service
        self._server = server
        self._apprise = apprise.Apprise()
        self._apprise.add(service)
        self._description = f"alert {redact_webhooks(server.url(privacy=True)).partition('?')[0]}"
        self._secret = url
        self._image, self._clip = options.image, options.clip
        self._timed = TimedCalls()
        self._attempts = ("", 0)  # the last message, and how many attempts to send it failed

    @property
    def description(self) -> str:
        """The address as Apprise prints it, without secrets."""
        return self._description

    def deliver(self, message: Message) -> None:
        """Send the notification; DeliveryError if Apprise could not.

        After some failed attempts, each further attempt also tries fewer attachments: they may be too large.
        """
        try:
            self._timed(message.id, lambda: self._deliver(message), limit_s=_LIMIT_S)
        except TimeoutError as error:
            raise DeliveryError(str(error)) from None

    def _deliver(self, message: Message) -> None:
        image = message.file("heat_map") or message.file("snapshot") if self._image else None
        clip = message.file("clip") if self._clip else None
        files = [path for path in (image, clip) if path is not None] if self._server.attachment_support else []
        failures = self._attempts[1] if self._attempts[0] == message.id else 0
        with _apprise_errors() as errors:
            delivered = self._notify(message, files)
            for count in range(len(files) - 1, -1, -1):
                if delivered or failures < _FULL_ATTEMPTS:
                    break
                delivered = self._notify(message, files[:count], files[count:])
        self._attempts = (message.id, failures + 1)
        if not delivered:
            raise DeliveryError(redact_webhooks("; ".join(errors) or "Apprise could not deliver it", self._secret))

    def _notify(self, message: Message, files: Sequence[Path], omitted: Sequence[Path] = ()) -> bool:
        names = ", ".join(path.name for path in omitted)
        missing = f"\nNot attached, because the message was rejected with it: {names}" if names else ""
        delivered = self._apprise.notify(
            title=title(message.event, message.transition),
            body=body(message.event) + missing,
            body_format="text",  # otherwise mails are sent as HTML and lose their line breaks
            notify_type=_NOTIFY_TYPES[message.event.severity],
            attach=[str(path) for path in files] or None,
        )
        return bool(delivered)


def title(event: Event, transition: Transition) -> str:
    """One line: camera, kind of event, and start time.

    >>> from offnormal.events.event import camera_event
    >>> title(camera_event("porch", "no_frames", 0, 5, is_over=True), "closed")
    'porch: no frames is over, since 1970-01-01 00:00:00 UTC'
    """
    kind = event.kind.replace("_", " ")
    severity = f" ({event.severity})" if event.severity is not None else ""
    over = " is over" if transition == "closed" else ""
    return f"{event.camera}: {kind}{severity}{over}, since {event.start:%Y-%m-%d %H:%M:%S} UTC"


def body(event: Event) -> str:
    """The facts about the event, one per line."""
    lines = [f"Camera {event.camera}, {event.kind.replace('_', ' ')} from {iso(event.start)} to {iso(event.end)}"]
    if event.state == "open":
        lines[0] += " (still open)"
    if event.detail:
        lines.append(event.detail)
    if event.peak_score is not None and event.threshold is not None:
        p_value = "" if event.p_value is None else f", p-value {event.p_value:.2g}"
        lines.append(f"Peak score {score_text(event.peak_score)}, threshold {score_text(event.threshold)}{p_value}")
    lines += [f"Missing: {problem}" for problem in event.problems]
    lines.append(f"Event {event.id}")
    return "\n".join(lines)


@contextmanager
def _apprise_errors() -> Iterator[list[str]]:
    """Collect the warnings that Apprise logs in this thread; they contain addresses and must not reach the log."""
    errors: list[str] = []
    this_thread = threading.get_ident()

    class Collector(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if record.thread != this_thread:
                return True
            if record.levelno >= logging.WARNING:
                errors.append(record.getMessage())
            return False

    logger, collector = logging.getLogger("apprise"), Collector()
    logger.addFilter(collector)
    try:
        yield errors
    finally:
        logger.removeFilter(collector)
