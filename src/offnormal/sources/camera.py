"""A live source: its frames as they come and the gaps between them, whatever happens to it."""

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
from offnormal.sources.live_reader import EVER_PATIENT, CameraOptions, Ended, Handover, LiveReader, Patience
from offnormal.sources.paths import Address
from offnormal.sources.watched_folder import WatchedFolder
from offnormal.types import Frame, Gap

State = Literal["connecting", "online", "stalled", "offline"]
Step = Literal["wait", "connect", "abandon"]
log = logging.getLogger(__name__)
_ROOM = 32  # frames that wait at most: what a stream sends at once when it begins
_STALE_S = 0.5  # newer frames take the place of one that has waited for so long
_ROOM_IN_ORDER = 2  # frames that wait where none is dropped
_JOIN_S = 1.0  # a reader is waited for when its camera is closed


class Connection:
    """Connecting, online, stalled or offline; a stall, an end and an error all lead to another attempt, for ever.

    `step` says what to do now, `wakes_s` when to ask next unless something happens before.
    """

    def __init__(self, patience: Patience, now_s: float, chance: Callable[[], float]) -> None:
        self.patience = patience
        self.state: State = "connecting"
        self.since_s = now_s  # of the state
        self.reason = ""  # of the last trouble
        self.attempts = 0
        self.failures = 0  # in a row
        self._chance = chance
        self._retry_s: float | None = now_s  # None: connected, or trying to
        self._deadline_s = math.inf

    @property
    def wakes_s(self) -> float:
        """The latest moment at which to call `step` again."""
        return self._deadline_s if self._retry_s is None else self._retry_s

    def step(self, now_s: float) -> Step:
        """What to do now: connect, abandon what is connected, or wait."""
        if self._retry_s is not None:
            if now_s < self._retry_s:
                return "wait"
            self.attempts += 1
            self._retry_s, self._deadline_s = None, now_s + self.patience.open_s
            self._enter("connecting", now_s)
            return "connect"
        if now_s < self._deadline_s:
            return "wait"
        waited_s = self.patience.stall_s if self.state == "online" else self.patience.open_s
        self._trouble("stalled", now_s, f"stalled: no frame for {waited_s:g} s")
        return "abandon"

    def frame(self, now_s: float) -> None:
        """A frame came."""
        self._deadline_s = now_s + self.patience.stall_s
        if self.state != "online":
            self._enter("online", now_s)

    def failed(self, now_s: float, reason: str) -> None:
        """It ended, broke or was refused."""
        self._trouble("offline", now_s, reason)

    def _trouble(self, state: State, now_s: float, reason: str) -> None:
        settled = self.state == "online" and now_s - self.since_s >= self.patience.settled_s
        self.failures = 1 if settled else self.failures + 1
        self.reason = reason
        self._retry_s = now_s + self.patience.delay_s(self.failures, self._chance())
        self._deadline_s = math.inf
        self._enter(state, now_s)

    def _enter(self, state: State, now_s: float) -> None:
        self.state, self.since_s = state, now_s


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraStatus:
    """What a camera has gone through; numbers are since it was made."""

    name: str
    address: str  # without credentials
    state: State
    in_state_s: float
    reason: str  # of the last trouble, without credentials; "": there was none
    attempts: int  # to connect
    gaps: int
    decoded: int  # frames that the source gave
    given: int  # of them, to whoever uses them
    dropped: int  # of them, because newer ones came before they were taken
    frame_age_s: float | None  # since the last one was taken; None: there was none
    hanging: int  # readers that nobody waits for any more and that have not ended yet


class Camera:
    """Gives frames and gaps in order; read by a thread of its own, watched over by whoever takes them.

    A stall, an end, an error and a refusal lead to another attempt, for ever, with growing waits; a read that hangs is
    left to itself and to FFmpeg's deadline. Video files end instead, and `take` raises VideoError where one cannot be
    read. Of live sources the newest frames win; of folders, and of files unless `realtime`, none is dropped.

    `Frame.time_s` counts from the first frame on, over all gaps, of `fps` in its ticks; `Frame.index` leaves one number
    out at every gap and one for each frame dropped. `take` and `close` may be called from different threads.
    """

    def __init__(self, name: str, address: str | Address, options: CameraOptions | None = None) -> None:
        self.name = name
        self.address = address if isinstance(address, Address) else Address.parse(address)
        self.options = options or CameraOptions()
        self.ended = False  # a file, at its end
        file, folder = self.address.kind == "file", self.address.kind == "folder"
        self._drops = not folder and (not file or self.options.realtime)
        self._folder = WatchedFolder(self.address.path, self.options.watching) if folder else None
        patience = EVER_PATIENT if file or folder else self.options.patience
        self._connection = Connection(patience, time.monotonic(), random.random)
        self._stopped = threading.Event()
        self._reader: LiveReader | None = None
        self._live = False  # whether frames were taken from this reader
        self._readers: list[LiveReader] = []  # this one and those that were left to themselves
        self._next = 0  # index
        self._origin_s: float | None = None
        self._gaps = self._given = self._decoded = self._dropped = 0
        self._taken_s: float | None = None

    def take(self, timeout_s: float | None = None) -> Frame | Gap | None:
        """The next frame or gap; None: nothing in this time, or never again when `ended` or closed."""
        until_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while not (self.ended or self._stopped.is_set()):
            now_s = time.monotonic()
            step = self._connection.step(now_s)
            if step == "connect":
                self._connect()
            elif step == "abandon" and (gap := self._lose(now_s)) is not None:
                return gap
            wait_s = min(until_s, self._connection.wakes_s) - now_s
            found = self._wait(wait_s)
            now_s = time.monotonic()
            if isinstance(found, Frame):
                return self._seen(found, now_s)
            if isinstance(found, Ended):
                if (gap := self._over(found, now_s)) is not None:
                    return gap
            elif now_s >= until_s:
                break
        return None

    def __iter__(self) -> Iterator[Frame | Gap]:
        while (found := self.take()) is not None:
            yield found

    def close(self) -> None:
        """Stop reading; returns within about a second even where a read hangs, which then ends by its deadline.

        The interpreter's own end waits for that; a program that cannot leaves with `os._exit` while `status.hanging`.
        """
        self._stopped.set()
        reader = self._reader
        if reader is not None:
            reader.frames.close()
            reader.join(_JOIN_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def status(self) -> CameraStatus:
        """Where it stands; from any thread."""
        now_s, reader, taken_s = time.monotonic(), self._reader, self._taken_s
        return CameraStatus(
            name=self.name,
            address=str(self.address),
            state=self._connection.state,
            in_state_s=now_s - self._connection.since_s,
            reason=self._connection.reason,
            attempts=self._connection.attempts,
            gaps=self._gaps,
            decoded=self._decoded + (0 if reader is None else reader.decoded),
            given=self._given,
            dropped=self._dropped + (0 if reader is None else reader.frames.dropped),
            frame_age_s=None if taken_s is None else now_s - taken_s,
            hanging=sum(other.is_alive() and other.frames.closed.is_set() for other in self._readers),
        )

    def _connect(self) -> None:
        self._live = False
        self._reader = LiveReader(
            self.name,
            self.address,
            self.options,
            Handover(_ROOM, stale_s=_STALE_S) if self._drops else Handover(_ROOM_IN_ORDER),
            folder=self._folder,
            first=self._next,
            origin_s=self._origin_s,
        )
        self._readers = [*(reader for reader in self._readers if reader.is_alive()), self._reader]
        self._reader.start()
        if self._stopped.is_set():  # meanwhile
            self._reader.frames.close()

    def _wait(self, wait_s: float) -> Frame | Ended | None:
        wait_s = min(max(wait_s, 0), threading.TIMEOUT_MAX)
        if self._reader is not None:
            return self._reader.frames.get(wait_s)
        self._stopped.wait(wait_s)
        return None

    def _seen(self, frame: Frame, now_s: float) -> Frame:
        if self._connection.state != "online":
            if self._connection.reason:  # whoever was told of the trouble is told of its end
                log.warning("%s (%s): online%s", self.name, self.address, " again" if self._given else "")
            else:
                log.info("%s (%s): online", self.name, self.address)
        self._connection.frame(now_s)
        if self._reader is not None:
            self._origin_s = self._reader.origin_s
        self._live, self._next, self._taken_s = True, frame.index + 1, now_s
        self._given += 1
        return frame

    def _over(self, how: Ended, now_s: float) -> Gap | None:
        if not self.address.lasts:
            self.ended = True
            if how.error is not None:
                raise how.error
            return None
        if how.error is not None and not isinstance(how.error, OffnormalError):
            log.error("%s (%s): the reader broke", self.name, self.address, exc_info=how.error)
        reason = "ended: the source closed the stream" if how.error is None else self.address.scrub(str(how.error))
        online, known = self._connection.state == "online", self._connection.reason
        self._connection.failed(now_s, reason)
        if online or reason != known:  # a camera that is off for weeks is told of once
            log.warning("%s (%s): %s; trying again", self.name, self.address, reason)
        return self._let_go(now_s)

    def _lose(self, now_s: float) -> Gap | None:
        log.warning("%s (%s): %s; connecting anew", self.name, self.address, self._connection.reason)
        return self._let_go(now_s)

    def _let_go(self, now_s: float) -> Gap | None:
        """Leave the reader to itself; the gap, where there were frames before it."""
        reader, self._reader = self._reader, None
        if reader is None:
            return None
        reader.frames.close()
        self._decoded += reader.decoded
        self._dropped += reader.frames.dropped
        if not self._live:
            return None
        self._next += 1
        self._gaps += 1
        return Gap(reason=self._connection.reason, arrived_s=now_s, utc_s=time.time())
