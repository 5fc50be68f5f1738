"""offnormal watch: cameras from a configuration to events that are told; dry runs and checks of the same."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from offnormal.bundle import Bundle, load
from offnormal.data.live_windows import LiveBatches
from offnormal.drawing.overlay import scale_for
from offnormal.errors import OffnormalError, UsageError
from offnormal.recording.media_worker import MediaWorker
from offnormal.recording.recorder import HeatScale, Recorder
from offnormal.recording.retention import Retention
from offnormal.scoring import LiveScorer, Scorer, choose_device
from offnormal.sinks.base import Sink
from offnormal.sinks.callback import CallbackSink
from offnormal.sinks.dispatcher import Dispatcher
from offnormal.sinks.open import open_sinks
from offnormal.sources.camera import Camera
from offnormal.types import Event, Frame
from offnormal.verbs.loading import Progress
from offnormal.watching.camera import WatchedCamera, file_name
from offnormal.watching.clock import WallClock
from offnormal.watching.config import WatchConfig
from offnormal.watching.exposition import MetricsServer, exposition
from offnormal.watching.loop import Group, WatchLoop
from offnormal.watching.memory import resident_bytes
from offnormal.watching.recordings import DryRun, dry_run, measured
from offnormal.watching.seen import Seen, View, rescoring
from offnormal.watching.thresholds import Measured, Thresholds, needs_footage, thresholds_of

log = logging.getLogger(__name__)

_CONNECT_S = 15.0  # that a check waits for the first frame of a source
_LOOK_S = 0.2  # between two looks at whether it was refused
_NO_ROOM = 1000  # events that wait for whoever iterates over them
_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check says of one camera."""

    view: View
    thresholds: Thresholds | None  # None: they are found out from footage at the start
    source: str  # what its source gave; "": it was not asked


class Watch:
    """Cameras as configured; bundles are opened and everything is checked when it is made.

    Everything that torch computes is computed in one thread. OpenMP keeps workers for every thread that has ever
    computed, and as soon as these are more than the processor has cores, libgomp puts each to sleep between two layers:
    two cores then do little more than one.

    Raises ConfigError, UsageError, BundleError, CalibrationError.
    """

    def __init__(self, config: WatchConfig, progress: Progress | None = None) -> None:
        self.config = config
        self._progress = progress
        self._compute = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._given_up = threading.Event()
        self._device = self._computed(choose_device, config.device, config.threads)
        self._bundles: dict[Path, Bundle] = {}
        self._thresholds: dict[str, Thresholds] = {}  # by all that they depend on: of many recordings found out once
        self.views = [View(one, self._bundle(one.bundle)) for one in config.each() if one.bundle is not None]
        self.sinks: dict[str, Sink] = open_sinks(config.sinks)
        for view in self.views:
            if view.config.schedule is not None and view.is_recording and view.config.began is None:
                raise UsageError(
                    f"camera {view.name}: a schedule for a recording whose time nobody knows: say when it began "
                    "(--began 2026-11-20T18:00+01:00), or leave the schedule out"
                )
        self._scorers = {id(bundle): Scorer(bundle.detector, self._device) for bundle in self._bundles.values()}

    def thresholds(self, view: View) -> Thresholds:
        """Of one camera; from footage where that is asked for, which may take long."""

        def measure(videos: Sequence[Path]) -> Measured:
            size, count = self.config.batch_size, self._counter("calibrate")
            return self._computed(measured, view, videos, self._scorer(view), batch_size=size, count=count)

        alike = view.config.model_dump_json(exclude={"source", "name", "began"})
        if alike not in self._thresholds:
            self._thresholds[alike] = thresholds_of(view, self.config.out, measure)
        return self._thresholds[alike]

    def check(self, *, connect: bool = False) -> Iterator[Checked]:
        """Each camera, with its thresholds where no footage is to be scored first. connect: ask its source, too."""
        for view in self.views:
            found = None if needs_footage(view, self.config.out) else self.thresholds(view)
            yield Checked(view, found, _first_frame(view) if connect else "")

    def dry_runs(self) -> Iterator[DryRun]:
        """What watching each recording would have raised; nothing is sent. UsageError for sources that are none."""
        for view in self.views:
            if view.address.kind != "file":
                raise UsageError(f"camera {view.name}: --dry-run is for recordings, and {view.address} is none")
        for view in self.views:
            yield self._computed(
                dry_run,
                View(view.config.model_copy(update={"realtime": False}), view.bundle),
                self.thresholds(view),
                self._scorer(view),
                batch_size=self.config.batch_size,
                count=self._counter("watch"),
            )

    @contextmanager
    def running(self, tell: Callable[[Event], None]) -> Iterator[Running]:
        """Everything made for watching live: tell hears of each event, as the sinks do, from a thread of its own."""
        out = self.config.out
        thresholds = {view.name: self.thresholds(view) for view in self.views}
        with ExitStack() as stack:
            stack.enter_context(_alone(out))
            folder = (out / "events").resolve()
            sinks = {**self.sinks, "told": CallbackSink(tell)}
            dispatcher = stack.enter_context(Dispatcher(sinks, out / "spool.db", folder=folder))
            old = Retention(folder, days=self.config.keep_days, gigabytes=self.config.keep_gb)
            worker, clock = MediaWorker(old), WallClock()
            stack.callback(worker.close, 0.0)  # also where nothing comes of the rest
            groups = []
            for bundle in self._bundles.values():
                views = [view for view in self.views if view.bundle is bundle]
                seen: dict[str, Seen] = {}
                live = LiveScorer(self._scorers[id(bundle)], rescore=rescoring(seen))
                cameras = {}
                for view in views:
                    found = thresholds[view.name]
                    seen[view.name] = Seen(view, live, None if view.is_recording else clock)
                    recorder = _recorder(view, found, folder, dispatcher, worker)
                    state = None if view.is_recording else out / "state" / f"{file_name(view.name)}.json"
                    cameras[view.name] = WatchedCamera(seen[view.name], found, recorder=recorder, state=state)
                batches = LiveBatches(batch_size=self.config.batch_size, sources=len(views))
                groups.append(Group(live, batches, cameras))
            running = Running(WatchLoop(groups, self._sources(), dispatcher, worker, self._compute))
            stack.callback(running.loop.close)
            if self.config.metrics is not None:
                server = MetricsServer(self.config.metrics, running.page)
                stack.callback(server.close)
                running.metrics_url = server.url
            yield running

    def events(self) -> Iterator[Event]:
        """Watch, and give each event when it opens and when it is over; ends when every source has.

        Leaving the loop over it early ends the watching.
        """
        waiting: queue.Queue[Event | None] = queue.Queue(_NO_ROOM)
        with self.running(waiting.put) as running:

            def watch() -> None:
                running.loop.run()
                running.loop.close()
                waiting.put(None)

            thread = threading.Thread(target=watch, name="watch", daemon=True)
            thread.start()
            try:
                while (event := waiting.get()) is not None:
                    yield event
            finally:
                running.loop.stop()
                while thread.is_alive():
                    with _emptied(waiting):
                        thread.join(0.05)
        if running.loop.failed:
            raise OffnormalError("; ".join(running.loop.failed.values()))

    def _sources(self) -> dict[str, Camera]:
        state = self.config.out / "state"
        return {
            view.name: Camera(view.name, view.address, view.options(state / f"{view.name}.pictures.json"))
            for view in self.views
        }

    def _bundle(self, path: Path | None) -> Bundle:
        assert path is not None
        place = path.resolve()
        if place not in self._bundles:
            self._bundles[place] = self._computed(load, path)
        return self._bundles[place]

    def _scorer(self, view: View) -> Scorer:
        return self._scorers[id(view.bundle)]

    def _computed(self, function: Callable[_Given, _Found], *given: _Given.args, **named: _Given.kwargs) -> _Found:
        """What a function gives or raises, called where torch computes; ended where the user interrupts."""
        try:
            return self._compute.submit(function, *given, **named).result()
        except KeyboardInterrupt:
            self._given_up.set()
            raise

    def _counter(self, what: str) -> Callable[[int], None]:
        done = 0

        def count(step: int) -> None:
            nonlocal done
            if self._given_up.is_set():
                raise OffnormalError("interrupted")  # which nobody waits for any more
            done += step
            if done % 50 == 0 and self._progress is not None:
                self._progress(what, done, done)

        return count


@dataclass(slots=True)
class Running:
    """A loop that can be run and stopped, and what it counts."""

    loop: WatchLoop
    metrics_url: str | None = None

    @property
    def cameras(self) -> list[WatchedCamera]:
        """All of them."""
        return [one for group in self.loop.groups for one in group.cameras.values()]

    def page(self) -> str:
        """Metrics for Prometheus."""
        found = [(self.loop.sources[one.name].status, one) for one in self.cameras]
        return exposition(found, self.loop.dispatcher.statuses(), resident_bytes())


def _recorder(view: View, found: Thresholds, folder: Path, dispatcher: Dispatcher, worker: MediaWorker) -> Recorder:
    pixel = None if found.calibration is None else found.calibration.pixel_threshold
    scale = None if pixel is None else HeatScale(view.spec, pixel, *scale_for(found.calibration))
    return Recorder(
        file_name(view.name),
        folder,
        dispatcher,
        worker,
        rules=view.rules,
        options=view.config.record,
        scale=scale,
        threshold=found.threshold,
    )


def _first_frame(view: View) -> str:
    """What a source gave within some seconds, in words."""
    with Camera(view.name, view.address, view.options()) as camera:
        item, end_s = None, time.monotonic() + _CONNECT_S
        while item is None and camera.status.state == "connecting" and time.monotonic() < end_s:
            item = camera.take(_LOOK_S)
        if not isinstance(item, Frame):
            return f"no frame: {camera.status.reason or f'nothing within {_CONNECT_S:g} s'}"
        height, width = item.image.shape[:2]
        view.pooling((height, width))
        return f"{width} x {height}"


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """The folder for this program alone: two would tell every event twice. UsageError where another one has it."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"{out}: another offnormal watch uses this folder; give this one its own with --out"
            ) from None
        yield


@contextmanager
def _emptied(waiting: queue.Queue[Event | None]) -> Iterator[None]:
    """Let whoever puts something in not wait for ever."""
    while not waiting.empty():
        waiting.get_nowait()
    yield
