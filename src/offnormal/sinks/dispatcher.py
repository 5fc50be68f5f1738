"""Events to every sink, each in a worker of its own, through the spool: a dead endpoint slows nobody down."""

from __future__ import annotations

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
_MEMORY = 1_000  # messages kept when the spool cannot be written
_LOOK_AGAIN_S = 5.0  # at the latest, whether or not anybody said that there is something
INTERRUPTED = "the program ended before the clip was written"


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """How a sink fares."""

    sink: str
    delivered: int  # since the start of the program
    failures: int  # attempts that failed, since then
    refused: int  # messages it will never take
    waiting: int
    dropped: int  # gave way to newer ones
    trouble: str | None  # why the last attempt failed; None: it did not


class _Delivery:
    """One sink and its worker: takes messages from the spool in order, and tries each until the sink has it."""

    def __init__(self, name: str, sink: Sink, spool: Spool, backoff: Backoff) -> None:
        self.name = name
        self.sink = sink
        self._spool = spool
        self._backoff = backoff
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._beside: deque[Message] = deque(maxlen=_MEMORY)  # what the spool could not take
        self._settled: dict[int, str | None] = {}  # what the sink took, or refused and why, and the spool still has
        self._unsettled = ""  # why
        self._delivered = self._failures = 0
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)

    @property
    def status(self) -> DeliveryStatus:
        """How it fares."""
        waiting = self._spool.waiting(self.name, after=max(list(self._settled), default=0)) + len(self._beside)
        refused = self._spool.refusals(self.name)
        dropped = self._spool.dropped(self.name)
        return DeliveryStatus(self.name, self._delivered, self._failures, refused, waiting, dropped, self._trouble)

    def start(self) -> None:
        """Begin with what waits."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something."""
        self._wake.set()

    def beside(self, message: Message) -> None:
        """Take a message that the spool could not: it is kept in memory alone."""
        self._beside.append(message)
        self._wake.set()

    def stop(self) -> None:
        """Ask the worker to end after the attempt that it is at."""
        self._stop.set()
        self._wake.set()

    def join(self, timeout_s: float) -> bool:
        """Wait until it has ended; whether it has."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self._deliver_next():
                    continue
                self.sink.idle()
                wait_s = _LOOK_AGAIN_S
            except DeliveryError as error:
                wait_s = self._failed(str(error), error.wait_s)
            except Exception as error:  # noqa: BLE001 - the edge: a sink may raise anything, and must not end its worker
                wait_s = self._failed(f"{type(error).__name__}: {error}", None)
            self._wake.wait(wait_s) if not self._backoff.failures else self._stop.wait(wait_s)
            self._wake.clear()
        self._settle()
        self.sink.close()

    def _deliver_next(self) -> bool:
        """Deliver the oldest message; whether there was one."""
        self._settle()
        found = self._spool.next(self.name, after=max(self._settled, default=0))
        message = found.message if found is not None else self._beside[0] if self._beside else None
        if message is None:
            return False
        reason = None
        try:
            self.sink.deliver(message)
        except DeliveryError as error:
            if not error.refused:
                raise
            reason = redact_webhooks(str(error))
            log.error("%s refused %s, which is not tried again: %s", self.sink.shown, message.id, reason)
        if found is None:
            self._beside.popleft()
        else:
            self._settled[found.seq] = reason
            self._settle()
        if reason is not None:
            return True
        self._delivered += 1
        if self._trouble is not None:
            log.info("%s takes events again", self.sink.shown)
        self._trouble = None
        self._backoff.succeeded()
        return True

    def _settle(self) -> None:
        """Remove what is done from the spool; where its disk is full later, with nothing delivered twice meanwhile."""
        try:
            for seq, refused in list(self._settled.items()):
                if refused is None:
                    self._spool.taken(seq)
                else:
                    self._spool.refused(seq, self.name, refused)
                del self._settled[seq]
            self._unsettled = ""
        except OffnormalError as error:
            if not self._unsettled:
                log.error("%s: what it took would be delivered again after a restart: %s", self.sink.shown, error)
            self._unsettled = str(error)

    def _failed(self, why: str, asked_s: float | None) -> float:
        self._failures += 1
        if self._trouble is None:
            log.warning("%s: %s; trying again until it is delivered", self.sink.shown, redact_webhooks(why))
        self._trouble = redact_webhooks(why)
        wait_s = self._backoff.failed()
        return wait_s if asked_s is None else min(max(wait_s, asked_s), self._backoff.cap_s)


class Dispatcher:
    """Every sink of a program. Used as a block: what was left over is delivered first, and what is left stays on disk.

    sinks: by names that stay the same from one start to the next. folder: that pictures of events are relative to.

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
        self.deliveries = [_Delivery(name, sink, self._spool, Backoff(first_s, cap_s)) for name, sink in sinks.items()]

    def __enter__(self) -> Dispatcher:
        unknown = set(self._spool.sinks()) - {delivery.name for delivery in self.deliveries}
        if unknown:
            log.warning("events wait for %s, which no sink is called any more", ", ".join(sorted(unknown)))
        for event, folder in self._spool.held():
            self._put(Message("closed", replace(event, clip=None, problems=(*event.problems, INTERRUPTED)), folder))
        for delivery in self.deliveries:
            delivery.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, event: Event) -> None:
        """Deliver an event that opened or is over to every sink that wants it; returns when it is safe on disk."""
        self._put(Message("closed" if event.state == "closed" else "opened", event, self.folder))

    def hold(self, event: Event) -> None:
        """Make sure that a closed event is delivered even if the program ends before `send`, which is to follow."""
        try:
            self._spool.hold(event, self.folder)
        except OffnormalError as error:
            log.error("event %s: %s", event.id, error)

    def statuses(self) -> Sequence[DeliveryStatus]:
        """How every sink fares."""
        return [delivery.status for delivery in self.deliveries]

    def drain(self, timeout_s: float) -> bool:
        """Wait until nothing waits any more; whether that came about in time."""
        end = time.monotonic() + timeout_s
        while any(delivery.status.waiting for delivery in self.deliveries):
            if time.monotonic() >= end:
                return False
            time.sleep(0.01)
        return True

    def close(self, timeout_s: float = 2.0) -> None:
        """End the workers, after a last chance to deliver what can be delivered at once; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and any(status.waiting and status.trouble is None for status in self.statuses()):
            time.sleep(0.01)
        for delivery in self.deliveries:
            delivery.stop()
        left = [delivery.name for delivery in self.deliveries if not delivery.join(max(0.1, end - time.monotonic()))]
        if not left:
            self._spool.close()

    def _put(self, message: Message) -> None:
        wanted = [delivery for delivery in self.deliveries if message.what in delivery.sink.wants]
        try:
            self._spool.put(message, [delivery.name for delivery in wanted])
        except OffnormalError as error:
            log.error("event %s is kept in memory alone: %s", message.event.id, error)
            for delivery in wanted:
                delivery.beside(message)
        for delivery in wanted:
            delivery.wake()
