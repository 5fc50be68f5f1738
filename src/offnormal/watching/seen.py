"""One camera up to its scores: frames become clips, clips scores of frames, and the camera itself is looked after."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from offnormal.bundle import Bundle
from offnormal.data.clips import Clip
from offnormal.data.frame_cache import LaidFrame
from offnormal.data.live_windows import LiveWindows
from offnormal.events.rules import EventRules
from offnormal.events.zones import ZonedPooling, zoned_pooling
from offnormal.scoring import LiveScorer, ScoredFrame
from offnormal.sources.camera import CameraOptions
from offnormal.sources.connection import Patience
from offnormal.sources.health import CameraHealth, Finding, HealthOptions, SmallPicture
from offnormal.sources.privacy import read_privacy_mask
from offnormal.sources.watched_folder import Watching
from offnormal.types import Frame, Gap, Mask, Scores
from offnormal.watching.clock import WallClock
from offnormal.watching.config import CameraConfig, address_of, options_of

TORN = "torn: frames were lost, or their clock jumped"
_STEP_S = 0.001  # between two frames at least: events bear times to the millisecond


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A frame with all that events are made of."""

    time_s: float  # seconds since 1970
    arrived_s: float | None  # on the monotonic clock; None: of a recording
    image: np.ndarray
    score: float  # NaN: none
    map: np.ndarray | None
    quiet: bool  # the whole scene changes: anomalies say nothing
    findings: tuple[Finding, ...]  # about the camera itself


class View:
    """What a camera shows and with which eyes it is looked at: source, bundle, mask, zones.

    Raises ConfigError for zones with a detector whose score is not pooled from a map.
    """

    def __init__(self, config: CameraConfig, bundle: Bundle) -> None:
        self.config, self.bundle = config, bundle
        self.name = config.name
        self.address = address_of(config)
        self.mask: Mask | None = bundle.input.mask if config.mask is None else read_privacy_mask(config.mask)
        self.is_recording = self.address.kind == "file" and not config.realtime
        self.rules = EventRules.of(config.rules)
        if self.address.kind == "folder" and "min_duration" not in config.rules.model_fields_set:
            self.rules = self.rules.model_copy(update={"min_duration_s": 0.0})  # each picture is a part of its own
        self.spec = replace(bundle.detector.input, mask=None)  # frames come with their mask painted
        LiveWindows(self.spec)  # refuses what no live source can give
        if config.zones:
            self.pooling(self.spec.size)  # refuses zones where there is nothing to pool

    def options(self, memory: Path | None = None) -> CameraOptions:
        """How the source is read. memory: file by which a watched folder goes on after a restart."""
        chosen = self.config
        return CameraOptions(
            fps=chosen.fps,
            mask=self.mask,
            realtime=chosen.realtime,
            transport=chosen.transport,
            watching=Watching(memory=memory),
            patience=options_of(Patience, chosen.patience),
        )

    def pooling(self, size: tuple[int, int]) -> ZonedPooling | None:
        """How zones pool the maps of pictures (H, W); None: the whole picture counts."""
        if not self.config.zones:
            return None
        detector = self.bundle.detector
        return zoned_pooling(
            self.config.zones,
            spec=self.spec,
            size=size,
            pooling=detector.pooling if detector.pools_map else None,
            detector=detector.name,
            ignored=None if detector.ignored is None else detector.ignored.cpu().numpy(),
        )


class Seen:
    """The frames of one camera on their way to their scores.

    `look` and `idle` are called by the thread that reads the camera, `rescore`, `judged` and the rest by the one that
    scores. clock: None for a recording, whose frames bear times from `began`.
    """

    def __init__(self, view: View, live: LiveScorer, clock: WallClock | None, *, pictures: bool = True) -> None:
        self.view, self.clock = view, clock
        self._live = live
        self._pictures = pictures
        began = view.config.start_time
        self.began_s = 0.0 if began is None else began.timestamp()
        self._windows = LiveWindows(view.spec)
        how: HealthOptions = options_of(HealthOptions, view.config.health)
        parts = view.address.kind == "folder"  # of an inspection line, each a picture of its own
        self._health = None if parts else CameraHealth(how, now_s=self.began_s if clock is None else clock.now())
        self._origin_s: float | None = None  # of the frames' times, on the monotonic clock
        self._last_s = -np.inf
        self._size: tuple[int, int] | None = None
        self._pooling: ZonedPooling | None = None
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()  # index of a frame, and what is known of it
        self._beside: deque[Finding] = deque()  # found while no frame came

    def look(self, item: Frame | Gap) -> list[Clip[LaidFrame] | Gap]:
        """Take the next frame or gap; the gap, or the clip that the frame completes, if it does.

        Before the clip comes a gap where the frame begins anew without one: no clip will speak of those before it.
        """
        if isinstance(item, Gap):
            if self._health is not None:
                self._health.gap()
            self._live.see(self.view.name, item)
            self._windows.push(item)
            return [item]
        size = (item.image.shape[0], item.image.shape[1])
        if size != self._size:
            self._size, self._pooling = size, self.view.pooling(size)
        time_s = self._time(item)
        findings = [] if self._health is None else self._health.look(SmallPicture.of(item.image), time_s)
        quiet = self._health is not None and self._health.suppresses
        arrived_s = None if self.clock is None else item.arrived_s
        known = {"time_s": time_s, "arrived_s": arrived_s, "quiet": quiet, "findings": tuple(findings)}
        self._waiting.append((item.index, known))
        clips = self._windows.push(item)
        gaps = [Gap(reason=TORN, arrived_s=time.monotonic(), utc_s=0.0)] if self._windows.torn else []
        for gap in gaps:
            self._live.see(self.view.name, gap)
        self._live.see(self.view.name, replace(item, image=self._kept(item.image)))
        return [*gaps, *clips]

    def idle(self) -> None:
        """No frame has come."""
        if self._health is not None and self.clock is not None:
            self._beside.extend(self._health.tick(self.clock.now()))

    def rescore(self, scores: Scores) -> Scores:
        """Scores by the zones alone."""
        return scores if self._pooling is None else self._pooling.rescore(scores)

    def judged(self, found: ScoredFrame) -> Judged:
        """A scored frame with what was known of it."""
        index, known = self._waiting.popleft()
        while index < found.frame.index:  # one that was lost on its way
            index, known = self._waiting.popleft()
        assert index == found.frame.index, "frames come back once and in order"
        return Judged(image=found.frame.image, score=found.score, map=found.map, **known)

    def beside(self) -> list[Finding]:
        """What was found while no frame came."""
        return [self._beside.popleft() for _ in range(len(self._beside))]

    @property
    def over_s(self) -> float | None:
        """Before this time nothing more comes, in seconds since 1970; None: who knows."""
        if self.clock is None:
            return None
        now_s = self.clock.now() - 1.0  # what is read now may bear a time a little earlier
        try:
            return min(now_s, float(self._waiting[0][1]["time_s"]) - _STEP_S)
        except IndexError:
            return now_s

    def not_before(self, time_s: float) -> None:
        """Give no frame a time that is not after this."""
        self._last_s = max(self._last_s, time_s)

    def _time(self, frame: Frame) -> float:
        time_s = self.began_s + (frame.time_s or 0.0)
        if self.clock is not None:
            arrived_s = frame.arrived_s if frame.arrived_s is not None else time.monotonic()
            if self._origin_s is None:
                self._origin_s = arrived_s - (frame.time_s or 0.0)
            time_s = self.clock.of(self._origin_s + (frame.time_s or 0.0))
        self._last_s = max(time_s, self._last_s + _STEP_S)
        return self._last_s

    def _kept(self, image: np.ndarray) -> np.ndarray:
        """A frame as it waits for its score: no larger than it is recorded, since many wait."""
        if not self._pictures:
            return image[:1, :1].copy()
        longest = self.view.config.record.longest
        if longest is None or max(image.shape[:2]) <= longest:
            return image
        shown = Image.fromarray(image)
        shown.thumbnail((longest, longest), Image.Resampling.BILINEAR)
        return np.asarray(shown)


def rescoring(cameras: dict[str, Seen]) -> Callable[[str, Scores], Scores]:
    """For a `LiveScorer`: the scores of each source by its own zones."""
    return lambda source, scores: cameras[source].rescore(scores)
