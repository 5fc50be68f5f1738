"""The recorder: saves images and clips of a camera's events before the events are delivered."""

from __future__ import annotations

import logging
import math
import queue
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image
from pydantic import Field

from offnormal.config.model import VerbConfig
from offnormal.data.images import restore_size
from offnormal.drawing.overlay import overlay, scale_for
from offnormal.events.machine import EventRules, Seconds
from offnormal.files import new_file
from offnormal.recording.clips import ClipRing, EventFrames, encode_jpeg
from offnormal.recording.retention import SWEEP_S, Retention
from offnormal.repeated_errors import RepeatedErrors
from offnormal.types import Event, InputSpec

log = logging.getLogger(__name__)
_MAX_JOBS = 256  # maximum number of waiting jobs; beyond it, images are skipped, but never events
_MAX_BYTES = 4e9  # maximum size of frames that wait for their clips
_Job = Callable[[], None]
_MARGIN_S = 2.0  # stored before the pre-roll, for uneven frames
RESTARTED = "the program was restarted during the event, so there is no image"
_OPENING_TIMEOUT_S = 60.0  # maximum wait of a closed event for the delivery of its opening
QUEUE_FULL = "too many images were waiting to be written"


class MediaWorker:
    """Writes images and clips of all cameras, in one thread for images and one for clips.

    People wait for images, which are fast; clips take longer, and old files are removed between them.
    """

    def __init__(self, retention: Retention | None = None) -> None:
        Image.preinit()  # reads files, for which there may be no descriptor when the first event starts
        self._waiting_bytes = 0.0  # size of frames that wait for their clips
        self._lock = threading.Lock()
        self._image_worker = _Worker("images", None)
        self._clip_worker = _Worker("clips", retention)

    def submit(self, job: _Job) -> bool:
        """Queue a job that writes images; return False if the queue is full."""
        return self._image_worker.submit(job)

    def submit_clip(self, job: _Job, size: int) -> bool:
        """Queue a job that writes a clip from `size` bytes of frames; return False if there is no space."""
        with self._lock:
            if self._waiting_bytes and self._waiting_bytes + size > _MAX_BYTES:
                return False
            self._waiting_bytes += size

        def counted_job() -> None:
            try:
                job()
            finally:
                self._release(size)

        if self._clip_worker.submit(counted_job):
            return True
        self._release(size)
        return False

    def close(self, timeout_s: float) -> bool:
        """Finish all jobs and stop; return whether that succeeded in time."""
        deadline_s = time.monotonic() + timeout_s
        workers = (self._image_worker, self._clip_worker)
        for worker in workers:
            worker.end(deadline_s)
        return all(worker.join(deadline_s) for worker in workers)

    def _release(self, size: int) -> None:
        with self._lock:
            self._waiting_bytes -= size


class _Worker:
    """Runs jobs one after the other in its own thread."""

    def __init__(self, name: str, retention: Retention | None) -> None:
        self._retention = retention
        self._errors = RepeatedErrors(log)
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_MAX_JOBS)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: _Job) -> bool:
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return False
        return True

    def end(self, deadline_s: float) -> None:
        try:
            self._jobs.put(None, timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Full:
            log.warning("not written before exit: %d %s", self._jobs.qsize(), self._thread.name)

    def join(self, deadline_s: float) -> bool:
        self._thread.join(max(0.0, deadline_s - time.monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=SWEEP_S)
            except queue.Empty:
                job = _do_nothing
            if job is None:
                return
            try:
                job()
                if self._retention is not None and self._jobs.empty():  # no clip is waiting
                    self._retention.sweep_if_due()
            except Exception as error:  # noqa: BLE001 - a failed job must not stop the others
                self._errors.report(self._thread.name, "not written, or an old file not removed", error)


def _do_nothing() -> None:
    """The job for idle times."""


class RecordOptions(VerbConfig):
    """What is recorded of an event."""

    pre_roll_s: Seconds = 5.0
    """Seconds in the clip before the event."""
    post_roll_s: Seconds = 5.0
    """Seconds in the clip after the event."""
    clips: bool = True
    """Write clips; if false, only snapshot and heat map."""
    longest: int | None = Field(default=1280, ge=64)
    """Maximum of the clip's longer side in pixels; larger frames are downscaled."""


@dataclass(frozen=True, slots=True, eq=False)
class PeakFrame:
    """The frame with the highest score."""

    time_s: float
    score: float
    image: np.ndarray  # (H, W, 3) uint8
    map: np.ndarray | None  # (h, w) float32 at input size


@dataclass(frozen=True, slots=True)
class HeatScale:
    """The color scale of maps, the same for all images of one calibration (`drawing.overlay.scale_for`)."""

    spec: InputSpec
    pixel_threshold: float | None
    low: float
    high: float


class EventDelivery(Protocol):
    """Receives events with their files: the dispatcher of the sinks."""

    def send(self, event: Event) -> None:
        """Deliver an opened or closed event."""

    def hold(self, event: Event) -> None:
        """Store a closed event so that it is delivered even if the program ends before `send`."""


@dataclass(slots=True)
class _Active:
    frames: EventFrames
    peak: PeakFrame
    start_s: float
    event: Event | None = None  # the closed event; None: still open
    clip_end_s: float = math.inf  # end of the post-roll
    opening_sent: threading.Event = field(default_factory=threading.Event)


class Recorder:
    """Records one camera next to its `CameraEvents`: push every frame here first, and pass every event on.

    It saves the images of events and passes them to the delivery: an opened event with the snapshot so far, a closed
    event when its clip is written; until then the spool holds it. If an image or clip cannot be written, the event is
    sent without it and with the reason in `problems`. camera: its name, valid in a file name.

        recorder.push(time_s, image, score, map)
        for event in events.push(time_s, score):
            recorder.take(event)
    """

    def __init__(
        self,
        camera: str,
        folder: Path,
        delivery: EventDelivery,
        worker: MediaWorker,
        *,
        rules: EventRules,
        options: RecordOptions | None = None,
        scale: HeatScale | None = None,
        threshold: float = math.inf,
    ) -> None:
        self.folder = folder
        self._delivery = delivery
        self.options = options or RecordOptions()
        self._worker = worker
        self._scale = scale
        self._threshold = threshold
        self._ring = ClipRing(self.options.pre_roll_s + rules.min_duration_s + _MARGIN_S, longest=self.options.longest)
        self._scratch = folder / ".recording" / camera
        shutil.rmtree(self._scratch, ignore_errors=True)  # files of a killed program
        self._active: dict[str, _Active] = {}
        self._newest: PeakFrame | None = None
        self._peak_candidate: PeakFrame | None = None  # highest frame of the current run above the threshold

    def push(self, time_s: float, image: np.ndarray, score: float = math.nan, map: np.ndarray | None = None) -> None:
        """Add the next frame (H, W, 3) uint8 RGB with its score and map (h, w) at input size, if any."""
        stored = self._ring.push(time_s, image) if self.options.clips else None
        self._newest = PeakFrame(time_s, -math.inf if math.isnan(score) else score, image, map)
        if not score > self._threshold:
            self._peak_candidate = None
        elif self._peak_candidate is None or score > self._peak_candidate.score:
            self._peak_candidate = self._newest
        for active in list(self._active.values()):
            if stored is not None:
                active.frames.add(stored)
            if active.event is None and self._newest.score > active.peak.score:
                active.peak = self._newest
        self.tick(time_s)

    def take(self, event: Event) -> None:
        """Handle an opened or closed event, of the scene or of the camera itself, after its frame was pushed."""
        if event.state == "open":
            self._handle_open(event)
            return
        active = self._active.get(event.id)
        if active is None:
            restart_problem = () if event.peak_score is None else (RESTARTED,)
            self._delivery.send(replace(event, problems=(*event.problems, *restart_problem)))
            return
        self._delivery.hold(event)
        active.event = event
        active.clip_end_s = event.end.timestamp() + (self.options.post_roll_s if self.options.clips else 0.0)
        if not self.options.clips:
            self.tick(math.inf)

    def tick(self, time_s: float) -> None:
        """Advance the time: no earlier frame will come, so clips with a complete post-roll are written."""
        for key, active in list(self._active.items()):
            if active.event is not None and time_s > active.clip_end_s:
                del self._active[key]
                self._submit(active, active.event)

    def finish(self) -> None:
        """Write the clips of all closed events, at the end of a recording or of the program."""
        self.tick(math.inf)

    def _handle_open(self, event: Event) -> None:
        start_s = event.start.timestamp()
        peak = self._peak_candidate if self._peak_candidate and self._peak_candidate.time_s >= start_s else self._newest
        if peak is None or event.peak_score is None:
            self._delivery.send(event)
            return
        frames = self._ring.since(start_s - self.options.pre_roll_s) if self.options.clips else []
        stored = EventFrames(self._scratch / f"{event.id}.frames", frames)
        active = self._active[event.id] = _Active(stored, peak, start_s)

        def job() -> None:
            try:
                self._delivery.send(self._save_images(event, peak, "-opened"))
            finally:
                active.opening_sent.set()

        if not self._worker.submit(job):
            self._delivery.send(replace(event, problems=(*event.problems, QUEUE_FULL)))
            active.opening_sent.set()

    def _submit(self, active: _Active, event: Event) -> None:
        def job() -> None:
            recorded_event = self._save_images(event, active.peak)
            if self.options.clips:
                recorded_event = self._save_clip(recorded_event, active)
            active.frames.close()
            active.opening_sent.wait(_OPENING_TIMEOUT_S)
            self._delivery.send(recorded_event)

        if self._worker.submit_clip(job, active.frames.size):
            return
        active.frames.close()

        def send() -> None:
            self._delivery.send(replace(event, problems=(*event.problems, QUEUE_FULL)))

        if active.opening_sent.is_set() or not self._worker.submit(send):  # queue it after the opening
            send()

    def _save_images(self, event: Event, peak: PeakFrame, suffix: str = "") -> Event:
        """Save snapshot and heat map; return the event with their paths."""
        relative_path = Path(f"{event.start:%Y-%m-%d}") / f"{event.id}{suffix}"
        try:
            _write_jpeg(self.folder / f"{relative_path}.jpg", peak.image)
            event = replace(event, snapshot=f"{relative_path.as_posix()}.jpg")
            heat = heat_map(peak, self._scale) if self._scale is not None else None
            if heat is not None:
                _write_jpeg(self.folder / f"{relative_path}-heat.jpg", heat)
                event = replace(event, heat_map=f"{relative_path.as_posix()}-heat.jpg")
        except Exception as error:  # noqa: BLE001 - deliver the event even without its image
            return _add_problem(event, "snapshot", error)
        return event

    def _save_clip(self, event: Event, active: _Active) -> Event:
        relative_path = f"{event.start:%Y-%m-%d}/{event.id}.mp4"
        try:
            active.frames.write_clip(
                self.folder / relative_path, active.start_s - self.options.pre_roll_s, active.clip_end_s
            )
        except Exception as error:  # noqa: BLE001 - as above
            return _add_problem(event, "clip", error)
        return replace(event, clip=relative_path)


def _add_problem(event: Event, kind: str, error: Exception) -> Event:
    log.error("event %s: no %s: %s", event.id, kind, error)
    return replace(event, problems=(*event.problems, f"{kind}: {error}"))


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write an image as JPEG atomically; OffnormalError when the disk is full."""
    with new_file(path) as partial:
        partial.write_bytes(encode_jpeg(image))


def heat_map(peak: PeakFrame, scale: HeatScale) -> np.ndarray | None:
    """Return the frame with its heat map (H, W, 3); None without a map.

    If nothing is above the pixel threshold, as when the score is a mean, the color scale is that of the map.
    """
    if peak.map is None:
        return None
    height, width = peak.image.shape[:2]
    map = restore_size(peak.map, (height, width), scale.spec)
    threshold, low, high = scale.pixel_threshold, scale.low, scale.high
    if threshold is not None and map.max() <= threshold:
        threshold, (low, high) = None, scale_for(None, [map])
    return np.asarray(overlay(peak.image, map, threshold=threshold, low=low, high=high))
