"""A sink for whoever runs the watching in this very process: the terminal, or a program that uses the library."""

from __future__ import annotations

from collections.abc import Callable

from offnormal.sinks.base import Message, Sink, SinkOptions
from offnormal.types import Event


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
