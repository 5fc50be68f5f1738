"""The live pipeline: sources -> clips -> batches -> scores -> events -> sinks; one thread per camera and per bundle."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from offnormal.data.live_windows import LiveBatches, ReadyItem
from offnormal.errors import OffnormalError, UsageError
from offnormal.file_lock import file_lock
from offnormal.recording.recorder import MediaWorker
from offnormal.repeated_errors import RepeatedErrors
from offnormal.scoring import LiveScorer, ScoredFrame
from offnormal.sinks.dispatcher import Dispatcher
from offnormal.sources.camera import Camera
from offnormal.types import Event, Gap
from offnormal.watching.camera import WatchedCamera

_SLICE_S = 0.25  # target length of a time slice while other bundles wait
_NEW_WEIGHT = 0.2  # weight of the last slice in the running mean of the time per clip
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
log = logging.getLogger(__name__)
_POLL_S = 0.05
_WAIT_S = 0.2  # longest wait for a frame or a batch
_DRAIN_S = 1.5  # after `stop`, to score frames read before
_SCORERS_S = 1.7  # after `stop`, for the batch in progress
_CLOSE_S = 4.0  # after `stop`, for clips and deliveries; the rest is delivered after a restart
_CLOSE_RECORDINGS_S = 60.0  # the same, if every recording has ended


class ComputeThread(ThreadPoolExecutor):
    """The only thread that runs torch.

    OpenMP keeps workers for every thread that has ever computed. When these outnumber the cores, libgomp puts them to
    sleep between two layers, and two cores are hardly faster than one.
    """

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="compute")
        self._interrupted = threading.Event()

    def run(
        self, function: Callable[_Parameters, _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> _Result:
        """Run a function in this thread; after an interrupt by the user, `check` ends it."""
        try:
            return self.submit(function, *args, **kwargs).result()
        except KeyboardInterrupt:
            self._interrupted.set()
            raise

    def check(self) -> None:
        """OffnormalError after an interrupt by the user."""
        if self._interrupted.is_set():
            raise OffnormalError("interrupted")


class TimeSlices:
    """Measures the time per clip of each bundle, to limit the clips per time slice.

    >>> slices = TimeSlices(bundles=2)
    >>> slices.clips("slow")
    1
    >>> slices.record("slow", 1, 0.05)
    >>> slices.clips("slow")
    5
    >>> slices.record("slow start", 1, 0.2)  # may include one-time costs
    >>> slices.clips("slow start")
    2
    >>> TimeSlices(bundles=1).clips("alone") is None
    True
    """

    def __init__(self, bundles: int) -> None:
        self._alone = bundles < 2
        self._clip_s: dict[Hashable, float] = {}
        self._next_limit: dict[Hashable, int] = {}  # clips to try after a short slice

    def clips(self, bundle: Hashable) -> int | None:
        """The most clips that may be scored at once; 1 for a new bundle, None: no limit."""
        if self._alone:
            return None
        clip_s = self._clip_s.get(bundle)
        if clip_s is None:
            return 1
        return max(1, int(_SLICE_S / max(clip_s, 1e-6)), self._next_limit.get(bundle, 1))

    def record(self, bundle: Hashable, clips: int, seconds: float) -> None:
        """Record the duration of a slice with this number of clips."""
        if clips:
            last_s = seconds / clips
            self._clip_s[bundle] = last_s + (1 - _NEW_WEIGHT) * (self._clip_s.get(bundle, last_s) - last_s)
            self._next_limit[bundle] = clips + 1 if seconds < _SLICE_S else 1


@dataclass(slots=True, eq=False)
class BundleGroup:
    """The cameras of one bundle; their frames are scored together."""

    live: LiveScorer
    batches: LiveBatches
    cameras: dict[str, WatchedCamera]
    unfinished: dict[str, WatchedCamera] = field(init=False)  # cameras that have not ended
    emitting: threading.Lock = field(default_factory=threading.Lock)  # held while scores are passed to cameras
    abandoned: bool = False  # whether the scores of the batch in progress are ignored
    failing: dict[str, str] = field(default_factory=dict)  # last scoring error of a camera

    def __post_init__(self) -> None:
        self.unfinished = dict(self.cameras)


class WatchPipeline:
    """Watches until every source has ended or `stop` is called; no camera delays another.

    compute: the thread that all bundles share in time slices.
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
        self.failed: dict[str, str] = {}  # error by recording that could not be read
        self.metrics_url: str | None = None
        self._compute = compute
        self._slices = TimeSlices(len(groups))
        self._stop_s = float("inf")  # time of the first `stop`
        self._errors = RepeatedErrors(log)
        self._scorers: list[threading.Thread] = []
        self._ends: dict[str, Gap] = {}  # marks the end of a camera's frames

    @property
    def cameras(self) -> list[WatchedCamera]:
        """All cameras."""
        return [camera for group in self.groups for camera in group.cameras.values()]

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop_s < float("inf")

    @property
    def stop_s(self) -> float:
        """When `stop` was called first, on the monotonic clock; inf: not yet."""
        return self._stop_s

    @property
    def hanging(self) -> int:
        """Number of threads that still run; they delay the exit of the interpreter, not the end of the watching."""
        return sum(camera.running_readers for camera in self.sources.values()) + sum(
            thread.is_alive() for thread in self._scorers
        )

    def stop(self) -> None:
        """Stop watching; safe in a signal handler."""
        self._stop_s = min(self._stop_s, time.monotonic())

    def run(self) -> None:
        """Watch until the end; then every event is closed. Call `close` afterwards."""
        readers = []
        for group in self.groups:
            for camera in group.cameras.values():
                readers.append(
                    threading.Thread(target=self._run_reader, args=(group, camera), name=camera.name, daemon=True)
                )
            self._scorers.append(threading.Thread(target=self._run_scorer, args=(group,), name="score", daemon=True))
        for thread in (*readers, *self._scorers):
            thread.start()
        while not self.is_stopping and any(thread.is_alive() for thread in self._scorers):
            time.sleep(_POLL_S)  # not an event: its lock may be held when a signal handler sets it
        for thread in self._scorers:
            thread.join(self._remaining_s(_SCORERS_S) if self.is_stopping else None)
        for group in self.groups:
            with group.emitting:
                group.abandoned = True
            for name, camera in group.unfinished.items():
                with self._isolated(name):
                    camera.finish()

    def close(self) -> None:
        """Write the last clips and deliver waiting messages; only briefly after `stop`."""
        is_stopped = self.is_stopping
        self.worker.close(self._remaining_s(_CLOSE_S) / 2 if is_stopped else _CLOSE_RECORDINGS_S)
        self.dispatcher.close(self._remaining_s(_CLOSE_S) if is_stopped else _CLOSE_RECORDINGS_S)

    def events(self, waiting: queue.Queue[Event | None]) -> Iterator[Event]:
        """Watch in a thread, and yield the events that a sink puts into `waiting`; closing it stops watching."""

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
                while not waiting.empty():  # otherwise a blocked `put` would wait forever
                    waiting.get_nowait()
                thread.join(0.05)

    def _remaining_s(self, limit_s: float) -> float:
        """Seconds left of `limit_s` since `stop`."""
        return max(0.0, self._stop_s + limit_s - time.monotonic())

    def _run_reader(self, group: BundleGroup, camera: WatchedCamera) -> None:
        """The thread of one camera."""
        source, name = self.sources[camera.name], camera.name
        while not (self.is_stopping or source.has_ended):
            try:
                self._step(group, camera, source)
            except Exception as error:  # noqa: BLE001 - the edge
                if source.has_ended:  # a recording that cannot be read
                    self.failed[name] = str(error)
                self._errors.report(name, "its source cannot be read", error)
                time.sleep(0 if source.has_ended else _WAIT_S)
        end = self._ends[name] = Gap(reason="ended: no longer watched", arrived_s=time.monotonic(), utc_s=0.0)
        for item in camera.frames.push(end):
            group.batches.put(name, item)
        source.close()

    def _step(self, group: BundleGroup, camera: WatchedCamera, source: Camera) -> None:
        item = source.take(_WAIT_S)
        if item is None:
            camera.frames.idle()
            return
        waits = camera.frames.setup.is_recording or camera.frames.setup.address.kind == "folder"
        for clip in camera.frames.push(item):
            group.batches.put(camera.name, clip, drops=not waits)

    def _run_scorer(self, group: BundleGroup) -> None:
        """The thread of one bundle."""
        while group.unfinished and time.monotonic() < self._stop_s + _DRAIN_S:
            results = self._score_batch(group, group.batches.take(_WAIT_S, max_clips=self._slices.clips(group)))
            with group.emitting:
                if group.abandoned:
                    break
                for name, scored in results:
                    with self._isolated(name):
                        group.cameras[name].push(scored)
                    if scored is self._ends.get(name):
                        with self._isolated(name):
                            group.unfinished.pop(name).finish()
                for name, camera in group.unfinished.items():
                    camera.counts.dropped = group.batches.dropped[name]
                    with self._isolated(name):
                        camera.tick()
        group.batches.close()

    def _score_batch(self, group: BundleGroup, batch: list[ReadyItem]) -> list[tuple[str, ScoredFrame | Gap]]:
        """Score a batch; a camera with frames that cannot be scored affects no other."""
        alone = list(dict.fromkeys(ready.source for ready in batch if ready.source in group.failing))
        if alone and any(ready.source not in group.failing for ready in batch):
            results = self._score_batch(group, [ready for ready in batch if ready.source not in alone])
            for name in alone:
                results += self._score_batch(group, [ready for ready in batch if ready.source == name])
            return results
        try:
            results, took_s = self._compute.submit(_timed, group.live, batch).result()
        except Exception as error:  # noqa: BLE001 - whatever a network raises, the other cameras continue
            return self._handle_failure(group, batch, error)
        names = [ready.source for ready in batch if not isinstance(ready.item, Gap)]
        self._slices.record(group, len(names), took_s)
        for name in names:
            group.failing.pop(name, None)
            counts = group.cameras[name].counts
            counts.inferred += 1
            counts.inference_s += took_s / len(names)
        return results

    def _handle_failure(
        self, group: BundleGroup, batch: list[ReadyItem], error: Exception
    ) -> list[tuple[str, ScoredFrame | Gap]]:
        names = list(dict.fromkeys(ready.source for ready in batch))
        if len(names) > 1:
            batches = ([ready for ready in batch if ready.source == name] for name in names)
            return [scored for each in batches for scored in self._score_batch(group, each)]
        (name,) = names
        if group.failing.get(name) != type(error).__name__:
            self._errors.report(name, "frames cannot be scored", error)
        group.failing[name] = type(error).__name__
        return list(group.live.skip(batch))

    @contextmanager
    def _isolated(self, camera: str) -> Iterator[None]:
        """Log errors in one camera's events, so that no other camera is affected."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the edge
            self._errors.report(camera, "its events cannot be processed", error)


def _timed(live: LiveScorer, batch: list[ReadyItem]) -> tuple[list[tuple[str, ScoredFrame | Gap]], float]:
    """Score a batch; return the result and the seconds it took."""
    start_s = time.perf_counter()
    return list(live.score(batch)), time.perf_counter() - start_s


@contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Lock the folder, because two programs would deliver every event twice; UsageError if it is locked."""
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(folder / ".lock", waits=False))
        except BlockingIOError:
            raise UsageError(f"{folder}: another offnormal watch uses this folder; choose another with --out") from None
        yield
