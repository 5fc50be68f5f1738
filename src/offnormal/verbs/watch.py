"""offnormal watch: watch the cameras of a configuration and deliver their events; dry runs and checks."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from offnormal.bundle import Bundle, load
from offnormal.data.live_windows import LiveBatches
from offnormal.drawing.overlay import scale_for
from offnormal.errors import OffnormalError, UsageError
from offnormal.files import check_outputs, sweep
from offnormal.recording.recorder import HeatScale, MediaWorker, Recorder
from offnormal.recording.retention import Retention
from offnormal.scoring import LiveScorer, Scorer, choose_device
from offnormal.sinks.base import CallbackSink, Sink
from offnormal.sinks.dispatcher import Dispatcher
from offnormal.sinks.open import open_sinks
from offnormal.sources.camera import Camera
from offnormal.types import Event
from offnormal.verbs.loading import Progress, count_steps
from offnormal.watching.camera import WatchedCamera
from offnormal.watching.config import WatchConfig
from offnormal.watching.frames import CameraFrames, CameraSetup, WallClock, read_first_frame, rescore_by_zones
from offnormal.watching.pipeline import BundleGroup, ComputeThread, WatchPipeline, exclusive_folder
from offnormal.watching.recordings import DryRun, dry_run, score_footage
from offnormal.watching.thresholds import FootageScores, Thresholds, find_thresholds, needs_footage

_MAX_WAITING = 1000  # events that wait for the iterating program


@dataclass(frozen=True, slots=True)
class CameraCheck:
    """The result of a check of one camera."""

    setup: CameraSetup
    thresholds: Thresholds | None  # None: found at the start, from footage
    first_frame: str  # its size, or why there is none; "": not read


class Watch:
    """The cameras of a configuration; the constructor opens their bundles and checks everything.

    files: inputs that the configuration does not name, such as its own file.

    Raises ConfigError, UsageError, BundleError, CalibrationError.
    """

    def __init__(self, config: WatchConfig, progress: Progress | None = None, files: Iterable[Path] = ()) -> None:
        self.config = config
        self._progress = progress
        self._compute = ComputeThread()
        self._device = self._compute.run(choose_device, config.device, config.threads)
        self._bundles: dict[Path, Bundle] = {}
        self._thresholds: dict[str, Thresholds] = {}  # by the settings they depend on
        self.setups = [
            CameraSetup(camera, self._bundle(camera.bundle)) for camera in config.camera_configs() if camera.bundle
        ]
        self.sinks: dict[str, Sink] = open_sinks(config.sinks)
        check_outputs([(f"sink {sink.description}:", sink.path) for sink in self.sinks.values()], self._inputs(files))
        for setup in self.setups:
            if setup.config.schedule is not None and setup.is_recording and setup.config.start_time is None:
                raise UsageError(
                    f"camera {setup.name}: the schedule needs the recording's start time: add --start-time "
                    "2026-11-20T18:00+01:00, or remove the schedule"
                )
        self._scorers = {id(bundle): Scorer(bundle.detector, self._device) for bundle in self._bundles.values()}

    def thresholds(self, setup: CameraSetup, *, stores: bool = True) -> Thresholds:
        """The thresholds of one camera; scoring footage for them can take long. stores: keep them for the next start.

        A check or a dry run stores nothing, because a running watch may use the same folder.
        """

        def measure(videos: Sequence[Path]) -> FootageScores:
            size, count = self.config.batch_size, self._counter("calibrate")
            return self._compute.run(score_footage, setup, videos, self._scorer(setup), batch_size=size, count=count)

        settings = setup.config.model_dump_json(exclude={"source", "name", "start_time"})
        if settings not in self._thresholds:
            self._thresholds[settings] = find_thresholds(setup, self.config.out, measure, stores=stores)
        return self._thresholds[settings]

    def check(self, *, connect: bool = False) -> Iterator[CameraCheck]:
        """Check each camera; thresholds only if they need no footage. connect: also read a frame from its source."""
        for setup in self.setups:
            thresholds = None if needs_footage(setup, self.config.out) else self.thresholds(setup, stores=False)
            yield CameraCheck(setup, thresholds, read_first_frame(setup) if connect else "")

    def dry_runs(self) -> Iterator[DryRun]:
        """Dry-run each recording; nothing is sent. UsageError for sources that are no recordings."""
        for setup in self.setups:
            if setup.address.kind != "file":
                raise UsageError(f"camera {setup.name}: {setup.address} is not a recording, but --dry-run needs one")
        for setup in self.setups:
            yield self._compute.run(
                dry_run,
                CameraSetup(setup.config.model_copy(update={"realtime": False}), setup.bundle),
                self.thresholds(setup, stores=False),
                self._scorer(setup),
                batch_size=self.config.batch_size,
                count=self._counter("watch"),
            )

    @contextmanager
    def running(self, callback: Callable[[Event], None]) -> Iterator[WatchPipeline]:
        """The pipeline for live watching. callback: receives each event in a separate thread."""
        out = self.config.out
        with ExitStack() as stack:
            stack.enter_context(exclusive_folder(out))
            thresholds = {setup.name: self.thresholds(setup) for setup in self.setups}
            sweep(out, depth=3)  # out/events/DAY
            folder = (out / "events").resolve()
            sinks = {**self.sinks, "callback": CallbackSink(callback)}
            dispatcher = stack.enter_context(Dispatcher(sinks, out / "spool.db", folder=folder))
            worker = MediaWorker(Retention(folder, days=self.config.keep_days, gigabytes=self.config.keep_gb))
            stack.callback(worker.close, 0.0)  # even if the setup below fails
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
        """Watch, and yield each event when it opens and when it closes; ends when every source has ended.

        Leaving the loop early stops watching.
        """
        waiting: queue.Queue[Event | None] = queue.Queue(_MAX_WAITING)
        with self.running(waiting.put) as pipeline:
            yield from pipeline.events(waiting)
        if pipeline.failed:
            raise OffnormalError("; ".join(pipeline.failed.values()))

    def _sources(self) -> dict[str, Camera]:
        state = self.config.out / "state"
        return {
            setup.name: Camera(setup.name, setup.address, setup.options(state / f"{setup.name}.images.json"))
            for setup in self.setups
        }

    def _inputs(self, files: Iterable[Path]) -> Iterator[Path]:
        """Files that no sink may write to."""
        yield from files
        for setup in self.setups:
            config = setup.config
            if setup.address.kind == "file":
                yield setup.address.path
            yield from (path for path in (setup.bundle.path, config.privacy_mask, *config.calibrate_on) if path)

    def _bundle(self, path: Path) -> Bundle:
        key = path.resolve()
        if key not in self._bundles:
            self._bundles[key] = self._compute.run(load, path)
        return self._bundles[key]

    def _scorer(self, setup: CameraSetup) -> Scorer:
        return self._scorers[id(setup.bundle)]

    def _counter(self, phase: str) -> Callable[[int], None]:
        count = count_steps(self._progress, phase)

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
