"""The live loop: sources -> clips -> batches -> scores -> events -> sinks, a thread a camera and one a bundle;
all of them compute in one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from offnormal.data.live_windows import LiveBatches, Ready
from offnormal.errors import OffnormalError
from offnormal.scoring import LiveScorer, ScoredFrame
from offnormal.sinks.media_worker import MediaWorker
from offnormal.sinks.outlets import Outlets
from offnormal.sources.camera import Camera
from offnormal.types import Gap
from offnormal.watching.camera import WatchedCamera
from offnormal.watching.compute import ComputeThread

log = logging.getLogger(__name__)

_WAIT_S = 0.2  # for a frame or a batch, before time is looked at
_LAST_S = 1.5  # for what was read before the program was asked to end
_MEDIA_S, _SINKS_S = 1.0, 1.0  # for clips and deliveries then; what is left is told after the next start
_PATIENT_S = 60.0  # for the same where every recording has ended by itself


@dataclass(slots=True)
class Group:
    """The cameras of one bundle, whose frames are scored together."""

    live: LiveScorer
    batches: LiveBatches
    cameras: dict[str, WatchedCamera]


class WatchLoop:
    """Watches until every source has ended or it is asked to stop; no camera delays another."""

    def __init__(
        self,
        groups: Sequence[Group],
        sources: dict[str, Camera],
        outlets: Outlets,
        worker: MediaWorker,
        compute: ComputeThread,
    ) -> None:
        self.groups, self.sources, self.outlets, self.worker = groups, sources, outlets, worker
        self.compute = compute
        self.failed: dict[str, str] = {}  # recordings that could not be read, and why
        self._stop = threading.Event()
        self._deadline_s = float("inf")
        self._ends: dict[str, Gap] = {}  # behind the last frame of a camera

    @property
    def hanging(self) -> int:
        """Readers that nobody waits for; they keep the interpreter, not the watching, from ending."""
        return sum(camera.status.hanging for camera in self.sources.values())

    def stop(self) -> None:
        """Ask it to end; may be called by a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Watch; when it returns every event is closed, and `close` is to follow."""
        readers, scorers = [], []
        for group in self.groups:
            for one in group.cameras.values():
                readers.append(threading.Thread(target=self._read, args=(group, one), name=one.name, daemon=True))
            scorers.append(threading.Thread(target=self._score, args=(group,), name="score", daemon=True))
        for thread in (*readers, *scorers):
            thread.start()
        while not self._stop.is_set() and any(thread.is_alive() for thread in scorers):
            self._stop.wait(_WAIT_S)
        asked = self._stop.is_set()
        self._deadline_s = time.monotonic() + _LAST_S
        for thread in scorers:
            thread.join(_LAST_S + _WAIT_S if asked else None)

    def close(self) -> None:
        """Write the last clips and deliver what can be delivered; in a hurry where it was asked to stop."""
        asked = self._stop.is_set()
        self.worker.close(_MEDIA_S if asked else _PATIENT_S)
        self.outlets.close(_SINKS_S if asked else _PATIENT_S)

    def _read(self, group: Group, one: WatchedCamera) -> None:
        """One camera's thread."""
        camera, seen = self.sources[one.name], one.seen
        known = ""
        while not (self._stop.is_set() or camera.ended):
            try:
                self._step(group, one, camera)
            except Exception as error:
                if camera.ended:  # a recording that cannot be read
                    self.failed[one.name] = str(error)
                if str(error) != known:
                    log.error("%s: %s", one.name, error, exc_info=not isinstance(error, OffnormalError))
                    known = str(error)
        end = self._ends[one.name] = Gap(reason="ended: it is watched no more", arrived_s=time.monotonic(), utc_s=0.0)
        seen.look(end)
        group.batches.put(one.name, end)
        camera.close()

    def _step(self, group: Group, one: WatchedCamera, camera: Camera) -> None:
        item = camera.take(_WAIT_S)
        if item is None:
            one.seen.idle()
            return
        waits = one.seen.view.is_recording or one.seen.view.address.kind == "folder"
        for clip in one.seen.look(item):
            group.batches.put(one.name, clip, drops=not waits)
        if isinstance(item, Gap):
            group.batches.put(one.name, item)

    def _score(self, group: Group) -> None:
        """One bundle's thread."""
        left = dict(group.cameras)
        while left and time.monotonic() < self._deadline_s:
            for name, found in self._scored(group, group.batches.take(_WAIT_S)):
                with _told(name):
                    group.cameras[name].take(found)
                if found is self._ends.get(name):
                    with _told(name):
                        left.pop(name).finish()
            for name, one in left.items():
                one.counted.dropped = group.batches.dropped[name]
                with _told(name):
                    one.tick()
        for name, one in left.items():
            with _told(name):
                one.finish()
        group.batches.close()

    def _scored(self, group: Group, batch: list[Ready]) -> Iterator[tuple[str, ScoredFrame | Gap]]:
        clips = [ready.source for ready in batch if not isinstance(ready.item, Gap)]
        start_s = time.perf_counter()
        try:
            found = self.compute.call(lambda: list(group.live.score(batch)))
        except Exception as error:
            log.error("a batch could not be scored: %s", error, exc_info=not isinstance(error, OffnormalError))
            clips, found = [], list(group.live.score([ready for ready in batch if isinstance(ready.item, Gap)]))
        for name in clips:
            counted = group.cameras[name].counted
            counted.inferred += 1
            counted.inference_s += (time.perf_counter() - start_s) / len(clips)
        yield from found


@contextmanager
def _told(camera: str) -> Iterator[None]:
    """What goes wrong with one camera's events is logged, and harms no other camera."""
    try:
        yield
    except Exception:  # the edge
        log.exception("%s: its events could not be followed", camera)
