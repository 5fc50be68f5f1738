"""Send events to every sink through the spool. Each sink has its own worker, so a dead endpoint delays no other."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from offnormal.backoff import Backoff
from offnormal.errors import OffnormalError
from offnormal.redact import redact_webhooks
from offnormal.sinks.base import DeliveryError, Message, Sink
from offnormal.sinks.spool import Spool
from offnormal.types import Event

log = logging.getLogger(__name__)
_MEMORY_LIMIT = 1_000  # messages kept in memory while the spool cannot be written
_POLL_S = 5.0  # look for messages at least this often, even without a wake-up
INTERRUPTED = "the program ended before the clip was written"


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """The delivery statistics of one sink."""

    sink: str
    delivered: int  # since the start of the program
    failures: int  # failed attempts, since the start of the program
    refused: int  # messages that the receiver will never accept
    waiting: int
    dropped: int  # messages removed to make room for newer ones
    last_error: str | None  # of the last attempt; None: it succeeded


class _Delivery:
    """One sink and its worker: sends the messages of the spool in order, each until the sink accepts it."""

    def __init__(self, name: str, sink: Sink, spool: Spool, backoff: Backoff) -> None:
        self.name = name
        self.sink = sink
        self._spool = spool
        self._backoff = backoff
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._in_memory: deque[Message] = deque(maxlen=_MEMORY_LIMIT)  # messages that the spool could not store
        self._finished: dict[int, str | None] = {}  # delivered (None) or refused (why), but still in the spool
        self._spool_error = ""  # why the spool could not be updated
        self._delivered = self._failures = 0
        self._last_error: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)

    @property
    def status(self) -> DeliveryStatus:
        """The current statistics."""
        waiting, refused, dropped = len(self._in_memory), 0, 0
        with contextlib.suppress(OffnormalError):  # the worker reports it
            waiting += self._spool.count_waiting(self.name, after=max(list(self._finished), default=0))
            refused, dropped = self._spool.count_refused(self.name), self._spool.count_dropped(self.name)
        return DeliveryStatus(self.name, self._delivered, self._failures, refused, waiting, dropped, self._last_error)

    def start(self) -> None:
        """Start the worker."""
        self._thread.start()

    def wake(self) -> None:
        """Tell the worker that a message is waiting."""
        self._wake.set()

    def keep_in_memory(self, message: Message) -> None:
        """Store a message in memory only, because the spool could not be written."""
        self._in_memory.append(message)
        self._wake.set()

    def stop(self) -> None:
        """Ask the worker to stop after its current attempt."""
        self._stop.set()
        self._wake.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the worker; whether it ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self._deliver_next():
                    continue
                self.sink.idle()
                wait_s = _POLL_S
            except DeliveryError as error:
                wait_s = self._record_failure(str(error), error.wait_s)
            except Exception as error:  # noqa: BLE001 - a sink may raise anything, and its worker must survive
                wait_s = self._record_failure(f"{type(error).__name__}: {error}", None)
            self._wake.wait(wait_s) if not self._backoff.failures else self._stop.wait(wait_s)
            self._wake.clear()
        self._remove_finished()
        self.sink.close()

    def _deliver_next(self) -> bool:
        """Deliver the oldest message; False if none was waiting."""
        self._remove_finished()
        try:
            waiting = self._spool.next(self.name, after=max(self._finished, default=0))
        except OffnormalError as error:
            self._report_spool(f"stored messages have to wait: {error}")
            waiting = None
        else:
            if not self._finished:
                self._spool_error = ""
        message = waiting.message if waiting is not None else self._in_memory[0] if self._in_memory else None
        if message is None:
            return False
        reason = None
        try:
            self.sink.deliver(message)
        except DeliveryError as error:
            if not error.refused:
                raise
            reason = redact_webhooks(str(error))
            log.error("%s: message %s was refused and is not sent again: %s", self.sink.description, message.id, reason)
        if waiting is None:
            self._in_memory.popleft()
        else:
            self._finished[waiting.seq] = reason
            self._remove_finished()
        if reason is not None:
            return True
        self._delivered += 1
        if self._last_error is not None:
            log.info("%s: delivery works again", self.sink.description)
        self._last_error = None
        self._backoff.succeeded()
        return True

    def _remove_finished(self) -> None:
        """Remove finished messages from the spool; if its disk is full, try again later and deliver nothing twice."""
        try:
            for seq, refused in list(self._finished.items()):
                if refused is None:
                    self._spool.mark_delivered(seq)
                else:
                    self._spool.mark_refused(seq, self.name, refused)
                del self._finished[seq]
        except OffnormalError as error:
            self._report_spool(f"delivered messages would be sent again after a restart: {error}")

    def _report_spool(self, why: str) -> None:
        """Log why the spool cannot be used, once until it can."""
        if not self._spool_error:
            log.error("%s: %s", self.sink.description, why)
        self._spool_error = why

    def _record_failure(self, why: str, asked_s: float | None) -> float:
        self._failures += 1
        if self._last_error is None:
            log.warning("%s: %s; retrying until it is delivered", self.sink.description, redact_webhooks(why))
        self._last_error = redact_webhooks(why)
        wait_s = self._backoff.failed()
        return wait_s if asked_s is None else min(max(wait_s, asked_s), self._backoff.cap_s)


class Dispatcher:
    """All sinks of a program. Used as a context manager: it first sends waiting messages; unsent ones stay on disk.

    sinks: by names that stay the same after a restart. folder: base of the paths of events' images.

        with Dispatcher(sinks, Path("state/spool.db"), folder=Path("events")) as dispatcher:
            dispatcher.send(event)
    """

    def __init__(
        self,
        sinks: dict[str, Sink],
        spool: Path,
        *,
        folder: Path | None = None,
        limit: int | None = None,
        first_s: float = 1.0,
        cap_s: float = 60.0,
    ) -> None:
        self.folder = folder
        self._spool = Spool(spool) if limit is None else Spool(spool, limit=limit)
        self._closed = False
        self._is_stored = True  # the last message
        self.deliveries = [_Delivery(name, sink, self._spool, Backoff(first_s, cap_s)) for name, sink in sinks.items()]

    def __enter__(self) -> Dispatcher:
        unknown = set(self._spool.sinks()) - {delivery.name for delivery in self.deliveries}
        if unknown:
            log.warning("events wait for sinks that are no longer configured: %s", ", ".join(sorted(unknown)))
        for event, folder in self._spool.held_events():
            self._put(Message("closed", replace(event, clip=None, problems=(*event.problems, INTERRUPTED)), folder))
        for delivery in self.deliveries:
            delivery.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, event: Event) -> None:
        """Send an opened or closed event to every sink that subscribes to it; returns when it is safe on disk."""
        self._put(Message("closed" if event.state == "closed" else "opened", event, self.folder))

    def hold(self, event: Event) -> None:
        """Store a closed event so that it is delivered even if the program ends before `send` is called for it."""
        try:
            self._spool.hold(event, self.folder)
        except OffnormalError as error:
            log.error("event %s: %s", event.id, error)

    def statuses(self) -> Sequence[DeliveryStatus]:
        """The statistics of every sink."""
        return [delivery.status for delivery in self.deliveries]

    def drain(self, timeout_s: float) -> bool:
        """Wait until every message is delivered; False after the timeout."""
        end = time.monotonic() + timeout_s
        while any(delivery.status.waiting for delivery in self.deliveries):
            if time.monotonic() >= end:
                return False
            time.sleep(0.01)
        return True

    def close(self, timeout_s: float = 2.0) -> None:
        """Stop the workers after a last attempt to deliver waiting messages; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and any(
            status.waiting and status.last_error is None for status in self.statuses()
        ):
            time.sleep(0.01)
        for delivery in self.deliveries:
            delivery.stop()
        joined = [delivery.join(max(0.1, end - time.monotonic())) for delivery in self.deliveries]
        if all(joined):
            self._spool.close()

    def _put(self, message: Message) -> None:
        deliveries = [delivery for delivery in self.deliveries if delivery.sink.takes(message)]
        try:
            self._spool.put(message, [delivery.name for delivery in deliveries])
            self._is_stored = True
        except OffnormalError as error:
            if self._is_stored:
                log.error("event %s and those after it are kept in memory only: %s", message.event.id, error)
            self._is_stored = False
            for delivery in deliveries:
                delivery.keep_in_memory(message)
        for delivery in deliveries:
            delivery.wake()
