"""Pictures and clips of one camera's events: from the frames that pass by to files, before the event is told."""

from __future__ import annotations

import logging
import math
import re
import shutil
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import Field

from offnormal.config.model import VerbConfig
from offnormal.events.rules import EventRules, Seconds
from offnormal.sinks.clip_ring import ClipRing
from offnormal.sinks.media_worker import MediaWorker
from offnormal.sinks.outlets import Outlets
from offnormal.sinks.recording import HeatScale, Highest, Recording, heated, write_picture
from offnormal.types import Event

log = logging.getLogger(__name__)
_SLACK_S = 2.0  # kept before the pre-roll, for frames that come unevenly
ANEW = "the program was started anew during the event, so there is no picture of it"
_ORDER_S = 60.0  # that an event which is over waits for having been told to open
BUSY = "too many pictures were waiting to be written"


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


@dataclass(slots=True)
class _Active:
    recording: Recording
    start_s: float
    event: Event | None = None  # the closed one; None: still open
    until_s: float = math.inf  # end of the post-roll
    told: threading.Event = field(default_factory=threading.Event)  # that it has opened


class Recorder:
    """Follows one camera beside its `CameraEvents`: every frame is pushed here first, every event handed on here.

    It gives events their pictures and sends them to the outlets: an opened one with the snapshot so far, a closed one
    when its clip is written. A closed event is held in the spool meanwhile. Where a picture or clip cannot be written
    the event is sent without it, and says why in `problems`.

        recorder.push(time_s, image, score, map)
        for event in events.push(time_s, score):
            recorder.take(event)
    """

    def __init__(
        self,
        camera: str,
        folder: Path,
        outlets: Outlets,
        worker: MediaWorker,
        *,
        rules: EventRules,
        options: RecordOptions | None = None,
        scale: HeatScale | None = None,
        threshold: float = math.inf,
    ) -> None:
        self.folder = folder
        self.outlets = outlets
        self.options = options or RecordOptions()
        self._worker = worker
        self._scale = scale
        self._threshold = threshold
        self._ring = ClipRing(self.options.pre_roll_s + rules.min_duration_s + _SLACK_S, longest=self.options.longest)
        self._scratch = folder / ".recording" / re.sub(r"[^\w.-]+", "_", camera)
        shutil.rmtree(self._scratch, ignore_errors=True)  # of a program that was killed
        self._active: dict[str, _Active] = {}
        self._newest: Highest | None = None
        self._candidate: Highest | None = None  # highest of the frames above the threshold without a break

    def push(self, time_s: float, image: np.ndarray, score: float = math.nan, map: np.ndarray | None = None) -> None:
        """Take the next frame (H, W, 3) uint8 RGB, its score and its map (h, w) at input size, where there are any."""
        stored = self._ring.push(time_s, image) if self.options.clips else None
        self._newest = Highest(time_s, -math.inf if math.isnan(score) else score, image, map)
        if not score > self._threshold:
            self._candidate = None
        elif self._candidate is None or score > self._candidate.score:
            self._candidate = self._newest
        for active in list(self._active.values()):
            if stored is not None:
                active.recording.add(stored)
            if active.event is None:
                active.recording.offer(self._newest)
        self.tick(time_s)

    def take(self, event: Event) -> None:
        """Take an event that opened or is over, after the frame that it came of; those of the camera itself, too."""
        if event.state == "open":
            self._opened(event)
            return
        active = self._active.get(event.id)
        if active is None:
            anew = () if event.peak_score is None else (ANEW,)
            self.outlets.send(replace(event, problems=(*event.problems, *anew)))
            return
        self.outlets.hold(event)
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
        highest = self._candidate if self._candidate and self._candidate.time_s >= start_s else self._newest
        if highest is None or event.peak_score is None:
            self.outlets.send(event)
            return
        frames = self._ring.since(start_s - self.options.pre_roll_s) if self.options.clips else []
        recording = Recording(self._scratch / f"{event.id}.frames", frames, highest)
        active = self._active[event.id] = _Active(recording, start_s)

        def job() -> None:
            try:
                self.outlets.send(self._pictured(event, highest, "-opened"))
            finally:
                active.told.set()

        if not self._worker.submit(job):
            self.outlets.send(replace(event, problems=(*event.problems, BUSY)))
            active.told.set()

    def _submit(self, active: _Active, event: Event) -> None:
        def job() -> None:
            told = self._pictured(event, active.recording.highest)
            if self.options.clips:
                told = self._clipped(told, active)
            active.recording.close()
            active.told.wait(_ORDER_S)
            self.outlets.send(told)

        if self._worker.submit_clip(job, active.recording.size):
            return
        active.recording.close()

        def told() -> None:
            self.outlets.send(replace(event, problems=(*event.problems, BUSY)))

        if active.told.is_set() or not self._worker.submit(told):  # behind the picture of its opening
            told()

    def _pictured(self, event: Event, highest: Highest, ending: str = "") -> Event:
        """The event with snapshot and heat map on disk."""
        place = Path(f"{event.start:%Y-%m-%d}") / f"{event.id}{ending}"
        try:
            write_picture(self.folder / f"{place}.jpg", highest.image)
            event = replace(event, snapshot=f"{place.as_posix()}.jpg")
            heat = heated(highest, self._scale) if self._scale is not None else None
            if heat is not None:
                write_picture(self.folder / f"{place}-heat.jpg", heat)
                event = replace(event, heat_map=f"{place.as_posix()}-heat.jpg")
        except Exception as error:  # noqa: BLE001 - the edge: an event without its picture is still told
            return _lacking(event, "snapshot", error)
        return event

    def _clipped(self, event: Event, active: _Active) -> Event:
        place = f"{event.start:%Y-%m-%d}/{event.id}.mp4"
        try:
            active.recording.write_clip(self.folder / place, active.start_s - self.options.pre_roll_s, active.until_s)
        except Exception as error:  # noqa: BLE001 - as above
            return _lacking(event, "clip", error)
        return replace(event, clip=place)


def _lacking(event: Event, what: str, error: Exception) -> Event:
    log.error("event %s has no %s: %s", event.id, what, error)
    return replace(event, problems=(*event.problems, f"{what}: {error}"))
