"""One camera from its scores to its events: told, recorded, counted, and kept for a restart."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from offnormal.errors import DataError, OffnormalError
from offnormal.events.camera import CameraEvents
from offnormal.events.maker import Watched, camera_event
from offnormal.files import write_text
from offnormal.recording.recorder import Recorder
from offnormal.scoring import ScoredFrame
from offnormal.sources.health import Finding
from offnormal.types import Event, Gap
from offnormal.watching.seen import Seen
from offnormal.watching.statistics import CameraStatistics
from offnormal.watching.thresholds import Thresholds

log = logging.getLogger(__name__)

_SUPPRESSED_S = 0.0005  # after the frame itself
_SAVE_S = 2.0  # between two states on disk while an event is on
ENDED = "the program ended"
ANEW = "the program was started anew"


class WatchedCamera:
    """Takes the scored frames of one camera, in order, and tells its events; used by one thread.

    tell: hears of every event that opens or is over, those of the camera itself, too. recorder: the same, and of every
    frame, to give them pictures. state: file from which a restarted program goes on; None: a recording has none.
    """

    def __init__(
        self,
        seen: Seen,
        thresholds: Thresholds,
        *,
        tell: Callable[[Event], None] | None = None,
        recorder: Recorder | None = None,
        state: Path | None = None,
    ) -> None:
        self.seen, self.thresholds = seen, thresholds
        self.name = seen.view.name
        self.counted = CameraStatistics()
        self.troubles: dict[str, Finding] = {}  # of the camera itself, that last
        self._tells = [one for one in (tell, None if recorder is None else recorder.take) if one is not None]
        self._recorder = recorder
        self._state = state
        self._saved_s = time.monotonic()
        self._save_failed = False
        self.events = self._made()
        if state is not None:
            self._restore(state)

    def take(self, found: ScoredFrame | Gap) -> None:
        """Take the next scored frame or gap."""
        if isinstance(found, Gap):
            return  # where nothing follows, the rules end what is open
        judged = self.seen.judged(found)
        for finding in judged.findings:
            self._trouble(finding)
        if self._recorder is not None:
            self._recorder.push(judged.time_s, judged.image, judged.score, judged.map)
        if judged.quiet:
            self.events.suppress(judged.time_s + _SUPPRESSED_S)
        for event in self.events.push(judged.time_s, judged.score):
            self._told(event)
        self._count(judged.score, judged.arrived_s)

    def tick(self) -> None:
        """Let time pass: events that are over by it, clips whose post-roll is, troubles found without a frame."""
        for finding in self.seen.beside():
            self._trouble(finding)
        over_s = self.seen.over_s
        if over_s is not None:
            for event in self.events.tick(over_s):
                self._told(event)
            if self._recorder is not None:
                self._recorder.tick(over_s)
        if self.events.is_open and time.monotonic() - self._saved_s > _SAVE_S:
            self._save()

    def finish(self) -> None:
        """Close what is open, as at the end of a recording or of the program."""
        for event in self.events.finish():
            self._told(event)
        end_s = self.seen.over_s
        for finding in list(self.troubles.values()):
            self._trouble(Finding(finding.trouble, False, end_s or finding.time_s, finding.since_s, ENDED))
        if self._recorder is not None:
            self._recorder.finish()
        self._save()

    def _made(self) -> CameraEvents:
        view, found = self.seen.view, self.thresholds
        watched = Watched(
            camera=self.name,
            source=str(view.address),
            threshold=found.threshold,
            low_threshold=found.low,
            bundle=view.bundle.hash,
            calibration=None if found.calibration is None else found.calibration.id,
            conditions=found.conditions,
            recording_s=self.seen.began_s if view.is_recording else None,
        )
        return CameraEvents(watched, view.rules, calibration=found.calibration, schedule=view.config.schedule)

    def _trouble(self, finding: Finding) -> None:
        if finding.begins:
            self.troubles[finding.trouble] = finding
        else:
            self.troubles.pop(finding.trouble, None)
        self._told(
            camera_event(
                self.name,
                finding.trouble,
                finding.since_s,
                max(finding.time_s, finding.since_s),
                is_over=not finding.begins,
                source=str(self.seen.view.address),
                detail=finding.detail,
            )
        )

    def _told(self, event: Event) -> None:
        self.counted.events[event.kind, "closed" if event.state == "closed" else "opened"] += 1
        for tell in self._tells:
            tell(event)
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
        """Write what a restarted program needs; a full disk is told of once and ends nothing."""
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
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            over = self.events.restore(values["events"])
            last_s = (values["events"].get("machine") or {}).get("last_s")
            troubles = [(str(trouble), float(at_s), float(since_s)) for trouble, at_s, since_s in values["troubles"]]
        except FileNotFoundError:
            return
        except (OSError, DataError, KeyError, TypeError, ValueError) as error:
            log.warning("%s: %s; events that were open are lost", self.name, error)
            self.events = self._made()
            return
        now_s = self.seen.clock.now() if self.seen.clock is not None else 0.0
        if last_s is not None and last_s >= now_s:  # the system's clock was set back meanwhile
            over += self.events.finish()
            self.events = self._made()
        for event in over:
            self._told(event)
        for trouble, at_s, since_s in troubles:
            self._told(
                camera_event(
                    self.name,
                    trouble,
                    since_s,
                    max(at_s, since_s),
                    is_over=True,
                    source=str(self.seen.view.address),
                    detail=ANEW,
                )
            )


def file_name(camera: str) -> str:
    """A camera's name as that of a file."""
    return re.sub(r"[^\w.-]+", "_", camera)
