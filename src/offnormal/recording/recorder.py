"""Images and clips of one camera's events: from the frames that pass by to files, before the event is delivered."""

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
from pydantic import Field

from offnormal.config.model import VerbConfig
from offnormal.data.images import restore_size
from offnormal.drawing.overlay import overlay, scale_for
from offnormal.events.machine import EventRules, Seconds
from offnormal.files import new_file
from offnormal.recording.clips import ClipRing, EventFrames, compressed
from offnormal.recording.retention import SWEEP_S, Retention
from offnormal.types import Event, InputSpec

log = logging.getLogger(__name__)
_JOBS = 256  # that may wait to be written; beyond it images are left out, never events
_BYTES = 4e9  # of frames that may wait to become clips
_Job = Callable[[], None]
_SLACK_S = 2.0  # kept before the pre-roll, for frames that come unevenly
RESTARTED = "the program was started anew during the event, so there is no image of it"
_ORDER_S = 60.0  # that a closed event waits until its opening is delivered
QUEUE_FULL = "too many images were waiting to be written"


class MediaWorker:
    """Writes images and clips of all cameras, each kind one after the other in a thread of its own.

    People wait for images, which are quick; clips take longer, and old files are removed between them.
    """

    def __init__(self, retention: Retention | None = None) -> None:
        self._bytes = 0.0  # that wait to become clips
        self._lock = threading.Lock()
        self._pictures = _Worker("images", None)
        self._clips = _Worker("clips", retention)

    def submit(self, job: _Job) -> bool:
        """Write images later; whether there was room."""
        return self._pictures.submit(job)

    def submit_clip(self, job: _Job, size: int) -> bool:
        """Write a clip of frames of so many bytes later; whether there was room."""
        with self._lock:
            if self._bytes and self._bytes + size > _BYTES:
                return False
            self._bytes += size

        def counted() -> None:
            try:
                job()
            finally:
                self._freed(size)

        if self._clips.submit(counted):
            return True
        self._freed(size)
        return False

    def close(self, timeout_s: float) -> bool:
        """Do what waits and end; whether that came about in time."""
        end_s = time.monotonic() + timeout_s
        workers = (self._pictures, self._clips)
        for worker in workers:
            worker.end(end_s)
        return all(worker.joined(end_s) for worker in workers)

    def _freed(self, size: int) -> None:
        with self._lock:
            self._bytes -= size


class _Worker:
    """Does one job after the other in a thread of its own."""

    def __init__(self, name: str, retention: Retention | None) -> None:
        self._retention = retention
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_JOBS)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: _Job) -> bool:
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return False
        return True

    def end(self, end_s: float) -> None:
        try:
            self._jobs.put(None, timeout=max(0.0, end_s - time.monotonic()))
        except queue.Full:
            log.warning("%d %s are left unwritten", self._jobs.qsize(), self._thread.name)

    def joined(self, end_s: float) -> bool:
        self._thread.join(max(0.0, end_s - time.monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=SWEEP_S)
            except queue.Empty:
                job = _nothing
            if job is None:
                return
            try:
                job()
                if self._retention is not None and self._jobs.empty():  # nobody waits for a clip
                    self._retention.look()
            except Exception:  # the edge: one image must not end the images of all others
                log.exception("an image could not be written, or an old one not removed")


def _nothing() -> None:
    """What there is to do in quiet times."""


class RecordOptions(VerbConfig):
    """What is kept of an event."""

    pre_roll_s: Seconds = 5.0
    """Seconds in the clip before the event."""
    post_roll_s: Seconds = 5.0
    """Seconds in the clip after the event."""
    clips: bool = True
    """Write clips; without, snapshot and heat map alone."""
    longest: int | None = Field(default=1280, ge=64)
    """Longer side of the clip in pixels, to which larger frames are shrunk."""


@dataclass(frozen=True, slots=True, eq=False)
class PeakFrame:
    """The frame with the highest score."""

    time_s: float
    score: float
    image: np.ndarray  # (H, W, 3) uint8
    map: np.ndarray | None  # (h, w) float32 at input size


@dataclass(frozen=True, slots=True)
class HeatScale:
    """How maps become colors, the same for all images of one calibration (`drawing.overlay.scale_for`)."""

    spec: InputSpec
    pixel_threshold: float | None
    low: float
    high: float


class EventDelivery(Protocol):
    """Where events go once they have their files: the sinks' dispatcher."""

    def send(self, event: Event) -> None:
        """Deliver an event that opened or is over."""

    def hold(self, event: Event) -> None:
        """Make sure that a closed event is delivered even if the program ends before `send`, which is to follow."""


@dataclass(slots=True)
class _Active:
    frames: EventFrames
    peak: PeakFrame
    start_s: float
    event: Event | None = None  # the closed one; None: still open
    until_s: float = math.inf  # end of the post-roll
    opening_sent: threading.Event = field(default_factory=threading.Event)


class Recorder:
    """Follows one camera beside its `CameraEvents`: every frame is pushed here first, every event handed on here.

    It gives events their images and hands them to the delivery: an opened one with the snapshot so far, a closed one
    when its clip is written. A closed event is held in the spool meanwhile. Where an image or clip cannot be written
    the event is sent without it, and says why in `problems`. camera: its name, fit for a file.

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
        self._ring = ClipRing(self.options.pre_roll_s + rules.min_duration_s + _SLACK_S, longest=self.options.longest)
        self._scratch = folder / ".recording" / camera
        shutil.rmtree(self._scratch, ignore_errors=True)  # of a program that was killed
        self._active: dict[str, _Active] = {}
        self._newest: PeakFrame | None = None
        self._candidate: PeakFrame | None = None  # highest of the frames above the threshold without a break

    def push(self, time_s: float, image: np.ndarray, score: float = math.nan, map: np.ndarray | None = None) -> None:
        """Take the next frame (H, W, 3) uint8 RGB, its score and its map (h, w) at input size, where there are any."""
        stored = self._ring.push(time_s, image) if self.options.clips else None
        self._newest = PeakFrame(time_s, -math.inf if math.isnan(score) else score, image, map)
        if not score > self._threshold:
            self._candidate = None
        elif self._candidate is None or score > self._candidate.score:
            self._candidate = self._newest
        for active in list(self._active.values()):
            if stored is not None:
                active.frames.add(stored)
            if active.event is None and self._newest.score > active.peak.score:
                active.peak = self._newest
        self.tick(time_s)

    def take(self, event: Event) -> None:
        """Take an event that opened or is over, after the frame that it came of; those of the camera itself, too."""
        if event.state == "open":
            self._opened(event)
            return
        active = self._active.get(event.id)
        if active is None:
            anew = () if event.peak_score is None else (RESTARTED,)
            self._delivery.send(replace(event, problems=(*event.problems, *anew)))
            return
        self._delivery.hold(event)
        active.event = event
        active.until_s = event.end.timestamp() + (self.options.post_roll_s if self.options.clips else 0.0)
        if not self.options.clips:
            self.tick(math.inf)

    def tick(self, time_s: float) -> None:
        """Say that no frame comes from before this time: clips whose post-roll is over by that are written."""
        for key, active in list(self._active.items()):
            if active.event is not None and time_s > active.until_s:
                del self._active[key]
                self._submit(active, active.event)

    def finish(self) -> None:
        """Write what is left of the events that are closed, as at the end of a recording or of the program."""
        self.tick(math.inf)

    def _opened(self, event: Event) -> None:
        start_s = event.start.timestamp()
        peak = self._candidate if self._candidate and self._candidate.time_s >= start_s else self._newest
        if peak is None or event.peak_score is None:
            self._delivery.send(event)
            return
        frames = self._ring.since(start_s - self.options.pre_roll_s) if self.options.clips else []
        stored = EventFrames(self._scratch / f"{event.id}.frames", frames)
        active = self._active[event.id] = _Active(stored, peak, start_s)

        def job() -> None:
            try:
                self._delivery.send(self._pictured(event, peak, "-opened"))
            finally:
                active.opening_sent.set()

        if not self._worker.submit(job):
            self._delivery.send(replace(event, problems=(*event.problems, QUEUE_FULL)))
            active.opening_sent.set()

    def _submit(self, active: _Active, event: Event) -> None:
        def job() -> None:
            complete = self._pictured(event, active.peak)
            if self.options.clips:
                complete = self._clipped(complete, active)
            active.frames.close()
            active.opening_sent.wait(_ORDER_S)
            self._delivery.send(complete)

        if self._worker.submit_clip(job, active.frames.size):
            return
        active.frames.close()

        def send() -> None:
            self._delivery.send(replace(event, problems=(*event.problems, QUEUE_FULL)))

        if active.opening_sent.is_set() or not self._worker.submit(send):  # behind the image of its opening
            send()

    def _pictured(self, event: Event, peak: PeakFrame, ending: str = "") -> Event:
        """The event with snapshot and heat map on disk."""
        place = Path(f"{event.start:%Y-%m-%d}") / f"{event.id}{ending}"
        try:
            _write_jpeg(self.folder / f"{place}.jpg", peak.image)
            event = replace(event, snapshot=f"{place.as_posix()}.jpg")
            heat = heat_map(peak, self._scale) if self._scale is not None else None
            if heat is not None:
                _write_jpeg(self.folder / f"{place}-heat.jpg", heat)
                event = replace(event, heat_map=f"{place.as_posix()}-heat.jpg")
        except Exception as error:  # noqa: BLE001 - the edge: an event without its image is still delivered
            return _lacking(event, "snapshot", error)
        return event

    def _clipped(self, event: Event, active: _Active) -> Event:
        place = f"{event.start:%Y-%m-%d}/{event.id}.mp4"
        try:
            active.frames.write_clip(self.folder / place, active.start_s - self.options.pre_roll_s, active.until_s)
        except Exception as error:  # noqa: BLE001 - as above
            return _lacking(event, "clip", error)
        return replace(event, clip=place)


def _lacking(event: Event, what: str, error: Exception) -> Event:
    log.error("event %s has no %s: %s", event.id, what, error)
    return replace(event, problems=(*event.problems, f"{what}: {error}"))


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write an image as JPEG in one step; OffnormalError when the disk is full."""
    with new_file(path) as partial:
        partial.write_bytes(compressed(image))


def heat_map(peak: PeakFrame, scale: HeatScale) -> np.ndarray | None:
    """The frame under its heat map (H, W, 3); None where there is no map.

    Where nothing is above the pixel threshold, as when the score is a mean, the colors are the map's own.
    """
    if peak.map is None:
        return None
    height, width = peak.image.shape[:2]
    map = restore_size(peak.map, (height, width), scale.spec)
    threshold, low, high = scale.pixel_threshold, scale.low, scale.high
    if threshold is not None and map.max() <= threshold:
        threshold, (low, high) = None, scale_for(None, [map])
    return np.asarray(overlay(peak.image, map, threshold=threshold, low=low, high=high))
