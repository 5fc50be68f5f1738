"""A camera: frames and gaps of a source, with reconnection."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Self

from offnormal.errors import OffnormalError
from offnormal.repeated_errors import RepeatedErrors
from offnormal.sources.live_reader import NO_TIMEOUTS, CameraOptions, EndOfStream, HandoverQueue, LiveReader, Patience
from offnormal.sources.paths import Address
from offnormal.sources.watched_folder import WatchedFolder
from offnormal.types import Frame, Gap

State = Literal["connecting", "online", "stalled", "offline"]
Step = Literal["wait", "connect", "abandon"]
log = logging.getLogger(__name__)
_CAPACITY = 32  # frames that wait at most: the burst that a stream sends at its start
_STALE_S = 0.5  # a new frame replaces one that has waited longer
_ORDERED_CAPACITY = 2  # frames that wait at most if none may be dropped
_JOIN_TIMEOUT_S = 1.0  # wait for the reader when the camera is closed


class Connection:
    """State machine of a connection: connecting, online, stalled, or offline; it retries forever.

    `step` returns the next action, `next_step_s` the time to call it again.
    """

    def __init__(self, patience: Patience, now_s: float, chance: Callable[[], float]) -> None:
        self.patience = patience
        self.state: State = "connecting"
        self.since_s = now_s  # start of the state
        self.reason = ""  # reason for the last failure
        self.attempts = 0
        self.failures = 0  # consecutive
        self._chance = chance
        self._retry_at_s: float | None = now_s  # None: connected or connecting
        self._deadline_s = math.inf

    @property
    def next_step_s(self) -> float:
        """The latest time at which to call `step` again."""
        return self._deadline_s if self._retry_at_s is None else self._retry_at_s

    def step(self, now_s: float) -> Step:
        """Return the next action: connect, abandon the connection, or wait."""
        if self._retry_at_s is not None:
            if now_s < self._retry_at_s:
                return "wait"
            self.attempts += 1
            self._retry_at_s, self._deadline_s = None, now_s + self.patience.open_s
            self._enter("connecting", now_s)
            return "connect"
        if now_s < self._deadline_s:
            return "wait"
        waited_s = self.patience.stall_s if self.state == "online" else self.patience.open_s
        self._record_failure("stalled", now_s, f"stalled: no frame for {waited_s:g} s")
        return "abandon"

    def record_frame(self, now_s: float) -> None:
        """Record that a frame arrived."""
        self._deadline_s = now_s + self.patience.stall_s
        if self.state != "online":
            self._enter("online", now_s)

    def record_end(self, now_s: float, reason: str) -> None:
        """Record that the connection ended, failed, or was refused."""
        self._record_failure("offline", now_s, reason)

    def _record_failure(self, state: State, now_s: float, reason: str) -> None:
        was_stable = self.state == "online" and now_s - self.since_s >= self.patience.settled_s
        self.failures = 1 if was_stable else self.failures + 1
        self.reason = reason
        self._retry_at_s = now_s + self.patience.delay_s(self.failures, self._chance())
        self._deadline_s = math.inf
        self._enter(state, now_s)

    def _enter(self, state: State, now_s: float) -> None:
        self.state, self.since_s = state, now_s


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraStatus:
    """Status of a camera; counts are since its creation."""

    name: str
    address: str  # without credentials
    state: State
    in_state_s: float
    reason: str  # reason for the last failure, without credentials; "": none
    attempts: int  # connection attempts
    gaps: int
    decoded: int  # frames received from the source
    delivered: int  # frames delivered to the consumer
    dropped: int  # frames replaced by newer ones before delivery
    frame_age_s: float | None  # time since the last delivery; None: none yet
    hung_readers: int  # abandoned readers that are still running


class Camera:
    """Yields frames and gaps in order, which a separate thread reads.

    After a stall, an end, an error, or a refusal it reconnects forever, with growing delays; a hung read is abandoned
    until FFmpeg's timeout ends it. A video file ends instead; `take` raises VideoError for an unreadable one. Live
    sources drop the oldest frames; folders, and files unless `realtime`, drop none.

    `Frame.time_s` counts from the first frame across all gaps (in ticks of `fps`, if set); `Frame.index` skips one
    number per gap and one per dropped frame. `take` and `close` may be called from different threads.
    """

    def __init__(self, name: str, address: str | Address, options: CameraOptions | None = None) -> None:
        self.name = name
        self.address = address if isinstance(address, Address) else Address.parse(address)
        self.options = options or CameraOptions()
        self.has_ended = False  # end of a file
        file, folder = self.address.kind == "file", self.address.kind == "folder"
        self._drops_frames = not folder and (not file or self.options.realtime)
        self._folder = WatchedFolder(self.address.path, self.options.folder_watch) if folder else None
        patience = NO_TIMEOUTS if file or folder else self.options.patience
        self._connection = Connection(patience, time.monotonic(), random.random)
        self._stopped = threading.Event()
        self._reader: LiveReader | None = None
        self._has_frames = False  # this reader has delivered frames
        self._readers: list[LiveReader] = []  # this one and the abandoned ones
        self._next_index = 0  # index of the next frame
        self._origin_s: float | None = None
        self._gaps = self._delivered = self._decoded = self._dropped = 0
        self._last_taken_s: float | None = None
        self._errors = RepeatedErrors(log)
        self._warned: set[str] = set()  # reasons logged since it was online

    def take(self, timeout_s: float | None = None) -> Frame | Gap | None:
        """Return the next frame or gap; None after the timeout, at the end (`has_ended`), or when closed."""
        deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while not (self.has_ended or self._stopped.is_set()):
            now_s = time.monotonic()
            step = self._connection.step(now_s)
            if step == "connect":
                self._connect()
            elif step == "abandon" and (gap := self._handle_stall(now_s)) is not None:
                return gap
            wait_s = min(deadline_s, self._connection.next_step_s) - now_s
            item = self._wait(wait_s)
            now_s = time.monotonic()
            if isinstance(item, Frame):
                return self._accept_frame(item, now_s)
            if isinstance(item, EndOfStream):
                if (gap := self._handle_end(item, now_s)) is not None:
                    return gap
            elif now_s >= deadline_s:
                break
        return None

    def __iter__(self) -> Iterator[Frame | Gap]:
        while (item := self.take()) is not None:
            yield item

    def close(self) -> None:
        """Stop reading; return within about a second even if a read hangs, which then ends by its timeout.

        Interpreter exit waits for hung reads; to exit at once while `status.hung_readers` is above 0, use `os._exit`.
        """
        self._stopped.set()
        reader = self._reader
        if reader is not None:
            reader.frames.close()
            reader.join(_JOIN_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def status(self) -> CameraStatus:
        """The current status; may be read from any thread."""
        now_s, reader, last_taken_s = time.monotonic(), self._reader, self._last_taken_s
        return CameraStatus(
            name=self.name,
            address=str(self.address),
            state=self._connection.state,
            in_state_s=now_s - self._connection.since_s,
            reason=self._connection.reason,
            attempts=self._connection.attempts,
            gaps=self._gaps,
            decoded=self._decoded + (0 if reader is None else reader.decoded),
            delivered=self._delivered,
            dropped=self._dropped + (0 if reader is None else reader.frames.dropped),
            frame_age_s=None if last_taken_s is None else now_s - last_taken_s,
            hung_readers=sum(each.is_alive() and each.frames.closed.is_set() for each in self._readers),
        )

    @property
    def running_readers(self) -> int:
        """Number of threads that read this source, including abandoned ones; may be read from any thread."""
        return sum(reader.is_alive() for reader in list(self._readers))

    def _connect(self) -> None:
        self._has_frames = False
        self._reader = LiveReader(
            self.name,
            self.address,
            self.options,
            HandoverQueue(_CAPACITY, stale_s=_STALE_S) if self._drops_frames else HandoverQueue(_ORDERED_CAPACITY),
            folder=self._folder,
            first_index=self._next_index,
            origin_s=self._origin_s,
        )
        self._readers = [*(reader for reader in self._readers if reader.is_alive()), self._reader]
        self._reader.start()
        if self._stopped.is_set():  # closed in the meantime
            self._reader.frames.close()

    def _wait(self, wait_s: float) -> Frame | EndOfStream | None:
        wait_s = min(max(wait_s, 0), threading.TIMEOUT_MAX)
        if self._reader is not None:
            return self._reader.frames.get(wait_s)
        self._stopped.wait(wait_s)
        return None

    def _accept_frame(self, frame: Frame, now_s: float) -> Frame:
        if self._connection.state != "online":
            if self._connection.reason:  # the failure was logged as a warning, so log its end, too
                log.warning("%s (%s): online%s", self.name, self.address, " again" if self._delivered else "")
            else:
                log.info("%s (%s): online", self.name, self.address)
            self._warned.clear()
        self._connection.record_frame(now_s)
        if self._reader is not None:
            self._origin_s = self._reader.origin_s
        self._has_frames, self._next_index, self._last_taken_s = True, frame.index + 1, now_s
        self._delivered += 1
        return frame

    def _handle_end(self, end: EndOfStream, now_s: float) -> Gap | None:
        if not self.address.is_endless:
            self.has_ended = True
            if end.error is not None:
                raise end.error
            return None
        if end.error is not None and not isinstance(end.error, OffnormalError):
            self._errors.report(f"{self.name} ({self.address})", "the reader thread failed", end.error)
        reason = "ended: the source closed the stream" if end.error is None else self.address.scrub(str(end.error))
        self._connection.record_end(now_s, reason)
        self._warn(reason)
        return self._abandon_reader(now_s)

    def _handle_stall(self, now_s: float) -> Gap | None:
        self._warn(self._connection.reason)
        return self._abandon_reader(now_s)

    def _warn(self, reason: str) -> None:
        """Log a reason once until the camera is online again: it may be off for weeks."""
        if reason not in self._warned:
            self._warned.add(reason)
            log.warning("%s (%s): %s; reconnecting", self.name, self.address, reason)

    def _abandon_reader(self, now_s: float) -> Gap | None:
        """Abandon the reader; return a gap if it has delivered frames."""
        reader, self._reader = self._reader, None
        if reader is None:
            return None
        reader.frames.close()
        self._decoded += reader.decoded
        self._dropped += reader.frames.dropped
        if not self._has_frames:
            return None
        self._next_index += 1
        self._gaps += 1
        return Gap(reason=self._connection.reason, arrived_s=now_s, utc_s=time.time())
