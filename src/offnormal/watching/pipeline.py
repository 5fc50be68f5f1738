"""The live pipeline: sources -> clips -> batches -> scores -> events -> sinks, a thread a camera and one a bundle."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from offnormal.data.live_windows import LiveBatches, ReadyItem
from offnormal.errors import OffnormalError, UsageError
from offnormal.recording.recorder import MediaWorker
from offnormal.scoring import LiveScorer, ScoredFrame
from offnormal.sinks.dispatcher import Dispatcher
from offnormal.sources.camera import Camera
from offnormal.types import Event, Gap
from offnormal.watching.camera import WatchedCamera

_SLICE_S = 0.25  # that one slice is to take where others wait
_NEWEST = 0.2  # share of the last slice in what a clip is said to take
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")
log = logging.getLogger(__name__)
_WAIT_S = 0.2  # for a frame or a batch, before time is looked at
_LAST_S = 1.5  # after it was asked to stop, for what was read before
_LAST_BATCH_S = 1.7  # for the batch that is being scored then
_CLOSED_S = 4.0  # for clips and deliveries; what is left is delivered after the next start
_PATIENT_S = 60.0  # for the same where every recording has ended by itself


class ComputeThread(ThreadPoolExecutor):
    """The one thread for everything that torch computes.

    OpenMP keeps workers for every thread that has ever computed, and as soon as these are more than the processor has
    cores, libgomp puts each to sleep between two layers: two cores then do little more than one.
    """

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="compute")
        self._interrupted = threading.Event()

    def run(self, function: Callable[_Given, _Result], *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        """What a function returns or raises; where the user interrupts, `check` ends what still runs."""
        try:
            return self.submit(function, *args, **kwargs).result()
        except KeyboardInterrupt:
            self._interrupted.set()
            raise

    def check(self) -> None:
        """OffnormalError once the user has interrupted: nobody waits for the result any more."""
        if self._interrupted.is_set():
            raise OffnormalError("interrupted")


class TimeSlices:
    """Seconds that a clip of each bundle takes, and so how many clips fit in a slice.

    >>> slices = TimeSlices(bundles=2)
    >>> slices.clips("slow")
    1
    >>> slices.took("slow", 1, 0.05)
    >>> slices.clips("slow")
    5
    >>> slices.took("dear at first", 1, 0.2)  # much of which may not be the clip's
    >>> slices.clips("dear at first")
    2
    >>> TimeSlices(bundles=1).clips("alone") is None
    True
    """

    def __init__(self, bundles: int) -> None:
        self._alone = bundles < 2
        self._clip_s: dict[Hashable, float] = {}
        self._more: dict[Hashable, int] = {}  # clips that are tried after a slice that was short enough

    def clips(self, bundle: Hashable) -> int | None:
        """The most that may be scored at once, of an unknown bundle one; None: as many as there are."""
        if self._alone:
            return None
        took_s = self._clip_s.get(bundle)
        if took_s is None:
            return 1
        return max(1, int(_SLICE_S / max(took_s, 1e-6)), self._more.get(bundle, 1))

    def took(self, bundle: Hashable, clips: int, seconds: float) -> None:
        """Take in how long a slice of so many clips took."""
        if clips:
            last_s = seconds / clips
            self._clip_s[bundle] = last_s + (1 - _NEWEST) * (self._clip_s.get(bundle, last_s) - last_s)
            self._more[bundle] = clips + 1 if seconds < _SLICE_S else 1


@dataclass(slots=True, eq=False)
class BundleGroup:
    """The cameras of one bundle, whose frames are scored together."""

    live: LiveScorer
    batches: LiveBatches
    cameras: dict[str, WatchedCamera]
    unfinished: dict[str, WatchedCamera] = field(init=False)  # that are not at their end yet
    emitting: threading.Lock = field(default_factory=threading.Lock)  # held by whoever hands cameras their scores
    abandoned: bool = False  # whether what is still being scored comes too late
    failing: dict[str, str] = field(default_factory=dict)  # the error of a camera whose frames cannot be scored

    def __post_init__(self) -> None:
        self.unfinished = dict(self.cameras)


class WatchPipeline:
    """Watches until every source has ended or it is asked to stop; no camera delays another.

    compute: the thread that bundles share in time slices.
    """

    def __init__(
        self,
        groups: Sequence[BundleGroup],
        sources: dict[str, Camera],
        dispatcher: Dispatcher,
        worker: MediaWorker,
        compute: ComputeThread,
    ) -> None:
        self.groups, self.sources, self.dispatcher, self.worker = groups, sources, dispatcher, worker
        self.failed: dict[str, str] = {}  # recordings that could not be read, and why
        self.metrics_url: str | None = None  # where metrics are served
        self._compute = compute
        self._slices = TimeSlices(len(groups))
        self._stop = threading.Event()
        self._asked_s = float("inf")  # when it was asked to stop
        self._scorers: list[threading.Thread] = []
        self._ends: dict[str, Gap] = {}  # behind the last frame of a camera

    @property
    def cameras(self) -> list[WatchedCamera]:
        """All of them."""
        return [camera for group in self.groups for camera in group.cameras.values()]

    @property
    def hanging(self) -> int:
        """Threads that nobody waits for; they keep the interpreter, not the watching, from ending."""
        readers = sum(camera.status.hung_readers for camera in self.sources.values())
        return readers + sum(thread.is_alive() for thread in self._scorers)

    def stop(self) -> None:
        """Ask it to end; may be called by a signal handler."""
        self._asked_s = min(self._asked_s, time.monotonic())
        self._stop.set()

    def run(self) -> None:
        """Watch; when it returns every event is closed, and `close` is to follow."""
        readers = []
        for group in self.groups:
            for one in group.cameras.values():
                readers.append(threading.Thread(target=self._read, args=(group, one), name=one.name, daemon=True))
            self._scorers.append(threading.Thread(target=self._score, args=(group,), name="score", daemon=True))
        for thread in (*readers, *self._scorers):
            thread.start()
        while not self._stop.is_set() and any(thread.is_alive() for thread in self._scorers):
            self._stop.wait(_WAIT_S)
        for thread in self._scorers:
            thread.join(self._remaining_s(_LAST_BATCH_S) if self._stop.is_set() else None)
        for group in self.groups:
            with group.emitting:
                group.abandoned = True
            for name, one in group.unfinished.items():
                with _isolated(name):
                    one.finish()

    def close(self) -> None:
        """Write the last clips and deliver what can be delivered; in a hurry where it was asked to stop."""
        asked = self._stop.is_set()
        self.worker.close(self._remaining_s(_CLOSED_S) / 2 if asked else _PATIENT_S)
        self.dispatcher.close(self._remaining_s(_CLOSED_S) if asked else _PATIENT_S)

    def events(self, waiting: queue.Queue[Event | None]) -> Iterator[Event]:
        """Watch in a thread, and yield the events that a sink puts into `waiting`; leaving early ends the watching."""

        def watch() -> None:
            self.run()
            self.close()
            waiting.put(None)

        thread = threading.Thread(target=watch, name="watch", daemon=True)
        thread.start()
        try:
            while (event := waiting.get()) is not None:
                yield event
        finally:
            self.stop()
            while thread.is_alive():
                while not waiting.empty():  # or whoever puts something in would wait for ever
                    waiting.get_nowait()
                thread.join(0.05)

    def _remaining_s(self, allowed_s: float) -> float:
        """Seconds until so many have passed since it was asked to stop."""
        return max(0.0, self._asked_s + allowed_s - time.monotonic())

    def _read(self, group: BundleGroup, one: WatchedCamera) -> None:
        """One camera's thread."""
        camera, frames = self.sources[one.name], one.frames
        known = ""
        while not (self._stop.is_set() or camera.has_ended):
            try:
                self._step(group, one, camera)
            except Exception as error:
                if camera.has_ended:  # a recording that cannot be read
                    self.failed[one.name] = str(error)
                if str(error) != known:
                    log.error("%s: %s", one.name, error, exc_info=not isinstance(error, OffnormalError))
                    known = str(error)
        end = self._ends[one.name] = Gap(reason="ended: it is watched no more", arrived_s=time.monotonic(), utc_s=0.0)
        for item in frames.push(end):
            group.batches.put(one.name, item)
        camera.close()

    def _step(self, group: BundleGroup, one: WatchedCamera, camera: Camera) -> None:
        item = camera.take(_WAIT_S)
        if item is None:
            one.frames.idle()
            return
        waits = one.frames.setup.is_recording or one.frames.setup.address.kind == "folder"
        for found in one.frames.push(item):
            group.batches.put(one.name, found, drops=not waits)

    def _score(self, group: BundleGroup) -> None:
        """One bundle's thread."""
        while group.unfinished and time.monotonic() < self._asked_s + _LAST_S:
            found = self._scored(group, group.batches.take(_WAIT_S, max_clips=self._slices.clips(group)))
            with group.emitting:
                if group.abandoned:
                    break
                for name, one in found:
                    with _isolated(name):
                        group.cameras[name].take(one)
                    if one is self._ends.get(name):
                        with _isolated(name):
                            group.unfinished.pop(name).finish()
                for name, camera in group.unfinished.items():
                    camera.counted.dropped = group.batches.dropped[name]
                    with _isolated(name):
                        camera.tick()
        group.batches.close()

    def _scored(self, group: BundleGroup, batch: list[ReadyItem]) -> list[tuple[str, ScoredFrame | Gap]]:
        """What is known of a batch; a camera whose frames cannot be scored harms no other."""
        alone = list(dict.fromkeys(ready.source for ready in batch if ready.source in group.failing))
        if alone and any(ready.source not in group.failing for ready in batch):
            found = self._scored(group, [ready for ready in batch if ready.source not in alone])
            for name in alone:
                found += self._scored(group, [ready for ready in batch if ready.source == name])
            return found
        try:
            found, took_s = self._compute.submit(_timed, group.live, batch).result()
        except Exception as error:  # noqa: BLE001 - the edge: whatever a network raises, others are watched on
            return self._unscored(group, batch, error)
        clips = [ready.source for ready in batch if not isinstance(ready.item, Gap)]
        self._slices.took(group, len(clips), took_s)
        for name in clips:
            group.failing.pop(name, None)
            counted = group.cameras[name].counted
            counted.inferred += 1
            counted.inference_s += took_s / len(clips)
        return found

    def _unscored(
        self, group: BundleGroup, batch: list[ReadyItem], error: Exception
    ) -> list[tuple[str, ScoredFrame | Gap]]:
        names = list(dict.fromkeys(ready.source for ready in batch))
        if len(names) > 1:
            alone = ([ready for ready in batch if ready.source == name] for name in names)
            return [one for each in alone for one in self._scored(group, each)]
        (name,) = names
        if group.failing.get(name) != type(error).__name__:
            trace = not isinstance(error, OffnormalError)
            log.error("%s: its frames cannot be scored: %s", name, error, exc_info=error if trace else None)
        group.failing[name] = type(error).__name__
        return list(group.live.skip(batch))


def _timed(live: LiveScorer, batch: list[ReadyItem]) -> tuple[list[tuple[str, ScoredFrame | Gap]], float]:
    """What is known of a batch, and the seconds that it took."""
    start_s = time.perf_counter()
    return list(live.score(batch)), time.perf_counter() - start_s


@contextmanager
def _isolated(camera: str) -> Iterator[None]:
    """What goes wrong with one camera's events is logged, and harms no other camera."""
    try:
        yield
    except Exception:  # the edge
        log.exception("%s: its events could not be followed", camera)


@contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """The folder for this program alone: two would deliver every event twice. UsageError where another one has it."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"{folder}: another offnormal watch uses this folder; give this one its own with --out"
            ) from None
        yield
