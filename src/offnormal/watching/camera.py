"""One camera from its scores to its events: delivered, recorded, counted, and stored for a restart."""

from __future__ import annotations

import json
import logging
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from offnormal.errors import DataError, OffnormalError
from offnormal.events.camera import CameraEvents
from offnormal.events.event import Watched, camera_event
from offnormal.files import write_text
from offnormal.recording.recorder import Recorder
from offnormal.scoring import ScoredFrame
from offnormal.sources.health import Finding
from offnormal.types import Event, Gap
from offnormal.watching.frames import CameraFrames
from offnormal.watching.thresholds import Thresholds

log = logging.getLogger(__name__)

_SUPPRESSED_S = 0.0005  # after the frame itself
_SAVE_S = 2.0  # between two states on disk while an event is on
LAG_BOUNDS_S = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
ENDED = "the program ended"
ANEW = "the program was started anew"


@dataclass(slots=True)
class Histogram:
    """How many values fell below each bound, as Prometheus has them."""

    bounds: tuple[float, ...] = LAG_BOUNDS_S
    counts: list[int] = field(default_factory=lambda: [0] * (len(LAG_BOUNDS_S) + 1))  # not cumulated; the last: above
    total: float = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(slots=True)
class CameraCounts:
    """Numbers since the start; written by the threads that watch, read by whoever shows them."""

    lag: Histogram = field(default_factory=Histogram)  # seconds from a frame's arrival to its verdict
    scored: int = 0  # frames with a score
    unscored: int = 0  # frames that no clip speaks of: at the start, beside gaps, dropped
    dropped: int = 0  # clips that gave way to newer ones before they were scored
    inferred: int = 0  # clips
    inference_s: float = 0.0  # of these, each with its share of the batch
    events: Counter[tuple[str, str]] = field(default_factory=Counter)  # by kind and state
    last_score: float | None = None


class WatchedCamera:
    """Takes the scored frames of one camera, in order, and hands out its events; used by one thread.

    callback: takes every event that opens or is over, those of the camera itself, too. recorder: the same, and every
    frame, to give them pictures. state: file from which a restarted program resumes; None: a recording has none.
    """

    def __init__(
        self,
        frames: CameraFrames,
        thresholds: Thresholds,
        *,
        callback: Callable[[Event], None] | None = None,
        recorder: Recorder | None = None,
        state: Path | None = None,
    ) -> None:
        self.frames, self.thresholds = frames, thresholds
        self.name = frames.setup.name
        self.counted = CameraCounts()
        self.troubles: dict[str, Finding] = {}  # of the camera itself, that last
        self._takers = [take for take in (callback, None if recorder is None else recorder.take) if take is not None]
        self._recorder = recorder
        self._state = state
        self._saved_s = time.monotonic()
        self._save_failed = False
        self.events = self._new_events()
        if state is not None:
            self._restore(state)

    def take(self, scored: ScoredFrame | Gap) -> None:
        """Take the next scored frame or gap."""
        if isinstance(scored, Gap):
            return  # where nothing follows, the rules end what is open
        judged = self.frames.judge(scored)
        for finding in judged.findings:
            self._trouble(finding)
        if self._recorder is not None:
            self._recorder.push(judged.time_s, judged.image, judged.score, judged.map)
        if judged.restarts:
            for event in self.events.restart():
                self._emit(event)
        if judged.quiet:
            self.events.suppress(judged.time_s + _SUPPRESSED_S)
        for event in self.events.push(judged.time_s, judged.score):
            self._emit(event)
        self._count(judged.score, judged.arrived_s)

    def tick(self) -> None:
        """Let time pass: events that are over by it, clips whose post-roll is, troubles found without a frame."""
        for finding in self.frames.idle_findings():
            self._trouble(finding)
        over_s = self.frames.over_s
        if over_s is not None:
            for event in self.events.tick(over_s):
                self._emit(event)
            if self._recorder is not None:
                self._recorder.tick(over_s)
        if self.events.is_open and time.monotonic() - self._saved_s > _SAVE_S:
            self._save()

    def finish(self) -> None:
        """Close what is open, as at the end of a recording or of the program."""
        for event in self.events.finish():
            self._emit(event)
        end_s = self.frames.over_s
        for finding in list(self.troubles.values()):
            self._trouble(Finding(finding.trouble, False, end_s or finding.time_s, finding.since_s, ENDED))
        if self._recorder is not None:
            self._recorder.finish()
        self._save()

    def _new_events(self) -> CameraEvents:
        setup, found = self.frames.setup, self.thresholds
        watched = Watched(
            camera=self.name,
            source=str(setup.address),
            threshold=found.threshold,
            low_threshold=found.low,
            bundle=setup.bundle.hash,
            calibration=None if found.calibration is None else found.calibration.id,
            conditions=found.conditions,
            recording_s=self.frames.began_s if setup.is_recording else None,
        )
        return CameraEvents(watched, setup.rules, calibration=found.calibration, schedule=setup.config.schedule)

    def _trouble(self, finding: Finding) -> None:
        if finding.begins:
            self.troubles[finding.trouble] = finding
        else:
            self.troubles.pop(finding.trouble, None)
        self._emit(
            camera_event(
                self.name,
                finding.trouble,
                finding.since_s,
                max(finding.time_s, finding.since_s),
                is_over=not finding.begins,
                source=str(self.frames.setup.address),
                detail=finding.detail,
            )
        )

    def _emit(self, event: Event) -> None:
        self.counted.events[event.kind, "closed" if event.state == "closed" else "opened"] += 1
        for take in self._takers:
            take(event)
        self._save()

    def _count(self, score: float, arrived_s: float | None) -> None:
        counted = self.counted
        if score != score:  # noqa: PLR0124 - NaN
            counted.unscored += 1
            return
        counted.scored += 1
        counted.last_score = score
        if arrived_s is not None:
            counted.lag.add(max(0.0, time.monotonic() - arrived_s))

    def _save(self) -> None:
        """Write what a restarted program needs; a full disk is logged once and ends nothing."""
        self._saved_s = time.monotonic()
        if self._state is None:
            return
        troubles = [[one.trouble, one.time_s, one.since_s] for one in self.troubles.values()]
        try:
            write_text(self._state, json.dumps({"events": self.events.state(), "troubles": troubles}))
            self._save_failed = False
        except OffnormalError as error:
            if not self._save_failed:
                log.error("%s: %s", self.name, error)
            self._save_failed = True

    def _restore(self, path: Path) -> None:
        """Go on with what was open when the program was killed."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            over = self.events.restore(values["events"])
            last_s = (values["events"].get("machine") or {}).get("last_s")
            troubles = [(str(trouble), float(at_s), float(since_s)) for trouble, at_s, since_s in values["troubles"]]
        except FileNotFoundError:
            return
        except (OSError, DataError, KeyError, TypeError, ValueError) as error:
            log.warning("%s: %s; events that were open are lost", self.name, error)
            self.events = self._new_events()
            return
        now_s = self.frames.clock.now() if self.frames.clock is not None else 0.0
        if last_s is not None and last_s >= now_s:  # the system's clock was set back meanwhile
            over += self.events.finish()
            self.events = self._new_events()
        for event in over:
            self._emit(event)
        for trouble, at_s, since_s in troubles:
            self._emit(
                camera_event(
                    self.name,
                    trouble,
                    since_s,
                    max(at_s, since_s),
                    is_over=True,
                    source=str(self.frames.setup.address),
                    detail=ANEW,
                )
            )
