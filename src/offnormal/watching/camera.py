"""Turn one camera's scores into events, and deliver, record, count, and store them for a restart."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from offnormal.errors import OffnormalError
from offnormal.events.camera import CameraEvents
from offnormal.events.event import EventContext, camera_event
from offnormal.files import read_state, write_text
from offnormal.recording.recorder import Recorder
from offnormal.scoring import ScoredFrame
from offnormal.sources.health import Finding
from offnormal.types import Event, Gap
from offnormal.watching.frames import CameraFrames
from offnormal.watching.thresholds import Thresholds

log = logging.getLogger(__name__)

_SUPPRESSED_S = 0.0005  # after the frame itself
_SAVE_S = 2.0  # between two saved states while an event is open
LAG_BOUNDS_S = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
ENDED = "the program ended"
RESTARTED = "the program was restarted"


@dataclass(slots=True)
class Histogram:
    """A histogram for Prometheus: the number of values up to each bound."""

    bounds: tuple[float, ...] = LAG_BOUNDS_S
    counts: list[int] = field(default_factory=lambda: [0] * (len(LAG_BOUNDS_S) + 1))  # not cumulative
    total: float = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(slots=True)
class CameraCounts:
    """Counts since the start; written by the watching threads, read by the metrics."""

    lag: Histogram = field(default_factory=Histogram)  # seconds from a frame's arrival to its verdict
    scored: int = 0  # frames with a score
    unscored: int = 0  # frames that no clip describes: at the start, next to gaps, dropped
    dropped: int = 0  # clips that were discarded for newer ones before they were scored
    inferred: int = 0  # clips
    inference_s: float = 0.0  # of these clips, each with its share of the batch
    events: Counter[tuple[str, str]] = field(default_factory=Counter)  # by kind and state
    last_score: float | None = None


def identify_recording(path: Path) -> tuple[str, int, str]:
    """Absolute path, size, and a hash of the first megabyte: another file of the same name differs."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                return str(path.resolve()), path.stat().st_size, hashlib.sha256(file.read(1 << 20)).hexdigest()
    except OSError:  # reported when its frames are read
        pass
    return str(path.resolve()), 0, "unreadable"


class WatchedCamera:
    """Finds the events in the scored frames of one camera and passes them on; used by one thread.

    callback: receives every event that opens or closes, including those of the camera itself. recorder: receives the
    same events and every frame, to add images. state: file from which a restarted program resumes; None for recordings.
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
        self.counts = CameraCounts()
        self.findings: dict[str, Finding] = {}  # about the camera itself that have not ended
        receivers = (callback, None if recorder is None else recorder.take)
        self._receivers = [receive for receive in receivers if receive is not None]
        self._recorder = recorder
        self._state = state
        self._saved_s = time.monotonic()
        self._save_failed = False
        self.events = self._new_events()
        if state is not None:
            self._restore(state)

    def push(self, scored: ScoredFrame | Gap) -> None:
        """Add the next scored frame or gap."""
        if isinstance(scored, Gap):
            return  # max_gap ends an open event
        judged = self.frames.judge(scored)
        for finding in judged.findings:
            self._report(finding)
        if self._recorder is not None:
            self._recorder.push(judged.time_s, judged.image, judged.score, judged.map)
        if judged.restarts:
            for event in self.events.restart():
                self._emit(event)
        if judged.scene_changes:
            self.events.suppress(judged.time_s + _SUPPRESSED_S)
        for event in self.events.push(judged.time_s, judged.score):
            self._emit(event)
        self._count(judged.score, judged.arrived_s)

    def tick(self) -> None:
        """Close events and clips that are over by now, and report findings that need no frame."""
        for finding in self.frames.idle_findings():
            self._report(finding)
        complete_s = self.frames.complete_until_s
        if complete_s is not None:
            for event in self.events.tick(complete_s):
                self._emit(event)
            if self._recorder is not None:
                self._recorder.tick(complete_s)
        if self.events.is_open and time.monotonic() - self._saved_s > _SAVE_S:
            self._save()

    def finish(self) -> None:
        """Close open events, at the end of a recording or of the program."""
        for event in self.events.finish():
            self._emit(event)
        end_s = self.frames.complete_until_s
        for finding in list(self.findings.values()):
            self._report(Finding(finding.trouble, False, end_s or finding.time_s, finding.since_s, ENDED))
        if self._recorder is not None:
            self._recorder.finish()
        self._save()

    @property
    def _recording_s(self) -> float | None:
        return self.frames.start_s if self.frames.setup.is_recording else None

    @cached_property
    def _recording(self) -> str:
        """What tells the events of a recording from those of another, or of another setup; "" for a live source."""
        setup, thresholds = self.frames.setup, self.thresholds
        if not setup.is_recording:
            return ""
        facts = (
            *identify_recording(setup.address.path), self.frames.start_s, setup.bundle.hash, thresholds.setup_hash,
            thresholds.threshold, thresholds.low, setup.rules.model_dump(),
        )  # fmt: skip
        return json.dumps(facts)

    def _new_events(self) -> CameraEvents:
        setup, thresholds = self.frames.setup, self.thresholds
        context = EventContext(
            camera=self.name,
            source=str(setup.address),
            threshold=thresholds.threshold,
            low_threshold=thresholds.low,
            bundle=setup.bundle.hash,
            calibration=None if thresholds.calibration is None else thresholds.calibration.id,
            setup_hash=thresholds.setup_hash,
            recording_s=self._recording_s,
            recording=self._recording,
        )
        return CameraEvents(context, setup.rules, calibration=thresholds.calibration, schedule=setup.config.schedule)

    def _report(self, finding: Finding) -> None:
        if finding.begins:
            self.findings[finding.trouble] = finding
        else:
            self.findings.pop(finding.trouble, None)
        self._emit(
            camera_event(
                self.name,
                finding.trouble,
                finding.since_s,
                max(finding.time_s, finding.since_s),
                is_over=not finding.begins,
                source=str(self.frames.setup.address),
                detail=finding.detail,
                recording_s=self._recording_s,
                recording=self._recording,
            )
        )

    def _emit(self, event: Event) -> None:
        self.counts.events[event.kind, "closed" if event.state == "closed" else "opened"] += 1
        for receive in self._receivers:
            receive(event)
        self._save()

    def _count(self, score: float, arrived_s: float | None) -> None:
        counts = self.counts
        if score != score:  # noqa: PLR0124 - NaN
            counts.unscored += 1
            return
        counts.scored += 1
        counts.last_score = score
        if arrived_s is not None:
            counts.lag.add(max(0.0, time.monotonic() - arrived_s))

    def _save(self) -> None:
        """Save the state for a restart; a full disk is logged once and stops nothing."""
        self._saved_s = time.monotonic()
        if self._state is None:
            return
        findings = [[finding.trouble, finding.time_s, finding.since_s] for finding in self.findings.values()]
        try:
            write_text(self._state, json.dumps({"events": self.events.state(), "findings": findings}))
            self._save_failed = False
        except (OffnormalError, OSError) as error:  # such as no more file descriptors
            if not self._save_failed:
                log.error("%s: state not saved: %s", self.name, error)
            self._save_failed = True

    def _restore(self, path: Path) -> None:
        """Continue the events that were open when the program was killed."""
        events = read_state(path, self._stored_events, "open events are lost")
        if events is None:
            self.events = self._new_events()
        for event in events or ():
            self._emit(event)

    def _stored_events(self, values: Mapping[str, Any]) -> list[Event]:
        """Resume from a stored state; return the events that are over by now."""
        closed = self.events.restore(values["events"])
        last_s = (values["events"].get("machine") or {}).get("last_s")
        now_s = self.frames.clock.now() if self.frames.clock is not None else 0.0
        if last_s is not None and last_s >= now_s:  # the system clock was set back meanwhile
            closed += self.events.finish()
            self.events = self._new_events()
        return closed + [
            camera_event(
                self.name,
                str(kind),
                float(since_s),
                max(float(at_s), float(since_s)),
                is_over=True,
                source=str(self.frames.setup.address),
                detail=RESTARTED,
            )
            for kind, at_s, since_s in values["findings"]
        ]
