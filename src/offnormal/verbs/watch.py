"""offnormal watch: cameras from a configuration to events that are delivered; dry runs and checks of the same."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from offnormal.bundle import Bundle, load
from offnormal.data.live_windows import LiveBatches
from offnormal.drawing.overlay import scale_for
from offnormal.errors import OffnormalError, UsageError
from offnormal.recording.recorder import HeatScale, MediaWorker, Recorder
from offnormal.recording.retention import Retention
from offnormal.scoring import LiveScorer, Scorer, choose_device
from offnormal.sinks.base import CallbackSink, Sink, open_sinks
from offnormal.sinks.dispatcher import Dispatcher
from offnormal.sources.camera import Camera
from offnormal.types import Event
from offnormal.verbs.loading import Progress, count_steps
from offnormal.watching.camera import WatchedCamera
from offnormal.watching.config import WatchConfig
from offnormal.watching.frames import CameraFrames, CameraSetup, WallClock, first_frame, rescore_by_zones
from offnormal.watching.pipeline import BundleGroup, ComputeThread, WatchPipeline, exclusive_folder
from offnormal.watching.recordings import DryRun, dry_run, score_footage
from offnormal.watching.thresholds import Measured, Thresholds, needs_footage, thresholds_of

_NO_ROOM = 1000  # events that wait for whoever iterates over them


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check says of one camera."""

    setup: CameraSetup
    thresholds: Thresholds | None  # None: they are found out from footage at the start
    source: str  # what its source gave; "": it was not asked


class Watch:
    """Cameras as configured; bundles are opened and everything is checked when it is made.

    Raises ConfigError, UsageError, BundleError, CalibrationError.
    """

    def __init__(self, config: WatchConfig, progress: Progress | None = None) -> None:
        self.config = config
        self._progress = progress
        self._compute = ComputeThread()
        self._device = self._compute.run(choose_device, config.device, config.threads)
        self._bundles: dict[Path, Bundle] = {}
        self._thresholds: dict[str, Thresholds] = {}  # by all that they depend on: of many recordings found out once
        self.setups = [CameraSetup(one, self._bundle(one.bundle)) for one in config.each() if one.bundle is not None]
        self.sinks: dict[str, Sink] = open_sinks(config.sinks)
        for setup in self.setups:
            if setup.config.schedule is not None and setup.is_recording and setup.config.start_time is None:
                raise UsageError(
                    f"camera {setup.name}: a schedule for a recording whose time nobody knows: say when it started "
                    "(--start-time 2026-11-20T18:00+01:00), or leave the schedule out"
                )
        self._scorers = {id(bundle): Scorer(bundle.detector, self._device) for bundle in self._bundles.values()}

    def thresholds(self, setup: CameraSetup) -> Thresholds:
        """Of one camera; from footage where that is asked for, which may take long."""

        def measure(videos: Sequence[Path]) -> Measured:
            size, count = self.config.batch_size, self._counter("calibrate")
            return self._compute.run(score_footage, setup, videos, self._scorer(setup), batch_size=size, count=count)

        alike = setup.config.model_dump_json(exclude={"source", "name", "start_time"})
        if alike not in self._thresholds:
            self._thresholds[alike] = thresholds_of(setup, self.config.out, measure)
        return self._thresholds[alike]

    def check(self, *, connect: bool = False) -> Iterator[Checked]:
        """Each camera, with its thresholds where no footage is to be scored first. connect: ask its source, too."""
        for setup in self.setups:
            thresholds = None if needs_footage(setup, self.config.out) else self.thresholds(setup)
            yield Checked(setup, thresholds, first_frame(setup) if connect else "")

    def dry_runs(self) -> Iterator[DryRun]:
        """What watching each recording would have raised; nothing is sent. UsageError for sources that are none."""
        for setup in self.setups:
            if setup.address.kind != "file":
                raise UsageError(f"camera {setup.name}: --dry-run is for recordings, and {setup.address} is none")
        for setup in self.setups:
            yield self._compute.run(
                dry_run,
                CameraSetup(setup.config.model_copy(update={"realtime": False}), setup.bundle),
                self.thresholds(setup),
                self._scorer(setup),
                batch_size=self.config.batch_size,
                count=self._counter("watch"),
            )

    @contextmanager
    def running(self, callback: Callable[[Event], None]) -> Iterator[WatchPipeline]:
        """Everything made for watching live. callback: takes each event, as the sinks do, in a thread of its own."""
        out = self.config.out
        thresholds = {setup.name: self.thresholds(setup) for setup in self.setups}
        with ExitStack() as stack:
            stack.enter_context(exclusive_folder(out))
            folder = (out / "events").resolve()
            sinks = {**self.sinks, "callback": CallbackSink(callback)}
            dispatcher = stack.enter_context(Dispatcher(sinks, out / "spool.db", folder=folder))
            worker = MediaWorker(Retention(folder, days=self.config.keep_days, gigabytes=self.config.keep_gb))
            stack.callback(worker.close, 0.0)  # also where nothing comes of the rest
            clock, groups = WallClock(), []
            for bundle in self._bundles.values():
                setups = [setup for setup in self.setups if setup.bundle is bundle]
                frames: dict[str, CameraFrames] = {}
                live = LiveScorer(self._scorers[id(bundle)], rescore=rescore_by_zones(frames))
                cameras = {}
                for setup in setups:
                    frames[setup.name] = CameraFrames(setup, live, None if setup.is_recording else clock)
                    recorder = _recorder(setup, thresholds[setup.name], folder, dispatcher, worker)
                    state = None if setup.is_recording else out / "state" / f"{setup.name}.json"
                    cameras[setup.name] = WatchedCamera(
                        frames[setup.name], thresholds[setup.name], recorder=recorder, state=state
                    )
                batches = LiveBatches(batch_size=self.config.batch_size, sources=len(setups))
                groups.append(BundleGroup(live, batches, cameras))
            pipeline = WatchPipeline(groups, self._sources(), dispatcher, worker, self._compute)
            stack.callback(pipeline.close)
            if self.config.metrics is not None:
                from offnormal.watching.metrics import serve_metrics

                pipeline.metrics_url = stack.enter_context(serve_metrics(self.config.metrics, pipeline))
            yield pipeline

    def events(self) -> Iterator[Event]:
        """Watch, and yield each event when it opens and when it is over; ends when every source has.

        Leaving the loop over it early ends the watching.
        """
        waiting: queue.Queue[Event | None] = queue.Queue(_NO_ROOM)
        with self.running(waiting.put) as pipeline:
            yield from pipeline.events(waiting)
        if pipeline.failed:
            raise OffnormalError("; ".join(pipeline.failed.values()))

    def _sources(self) -> dict[str, Camera]:
        state = self.config.out / "state"
        return {
            setup.name: Camera(setup.name, setup.address, setup.options(state / f"{setup.name}.pictures.json"))
            for setup in self.setups
        }

    def _bundle(self, path: Path) -> Bundle:
        key = path.resolve()
        if key not in self._bundles:
            self._bundles[key] = self._compute.run(load, path)
        return self._bundles[key]

    def _scorer(self, setup: CameraSetup) -> Scorer:
        return self._scorers[id(setup.bundle)]

    def _counter(self, what: str) -> Callable[[int], None]:
        count = count_steps(self._progress, what)

        def step(number: int) -> None:
            self._compute.check()
            if count is not None:
                count(number)

        return step


def _recorder(
    setup: CameraSetup, thresholds: Thresholds, folder: Path, dispatcher: Dispatcher, worker: MediaWorker
) -> Recorder:
    pixel = None if thresholds.calibration is None else thresholds.calibration.pixel_threshold
    return Recorder(
        setup.name,
        folder,
        dispatcher,
        worker,
        rules=setup.rules,
        options=setup.config.record,
        scale=None if pixel is None else HeatScale(setup.spec, pixel, *scale_for(thresholds.calibration)),
        threshold=thresholds.threshold,
    )
