"""A sink: one line of text for each event."""

import os
from pathlib import Path

from offnormal.sinks.base import DeliveryError, Message, Sink, SinkOptions


class LogbookOptions(SinkOptions):
    """Options of the sink: `--sink logbook:PATH`, or keys in a configuration file."""

    path: Path
    """File to append to."""


class LogbookSink(Sink):
    """Appends `TIME CAMERA KIND ID`, and returns only after the line is on disk."""

    Options = LogbookOptions
    target_option = "path"

    def __init__(self, options: LogbookOptions) -> None:
        super().__init__(options)
        self.path = options.path

    @property
    def description(self) -> str:
        """Name of the sink in logs: without secrets, and the same at every start."""
        return f"logbook {self.path}"

    def deliver(self, message: Message) -> None:
        """Append the line; DeliveryError if it cannot be written now; the message is then retried."""
        event = message.event
        line = f"{event.start:%Y-%m-%d %H:%M:%S} {event.camera} {event.kind} {event.id}\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DeliveryError(f"{self.path}: {error.strerror}") from None
