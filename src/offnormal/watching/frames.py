"""One camera up to its scores: its setup, frames that become clips, their scores by zone, and the camera's health."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from offnormal.bundle import Bundle
from offnormal.data.clips import Clip
from offnormal.data.frame_cache import ResizedFrame
from offnormal.data.live_windows import LiveWindows
from offnormal.events.machine import EventRules
from offnormal.events.zones import ZonedPooling, zoned_pooling
from offnormal.scoring import LiveScorer, ScoredFrame
from offnormal.sources.camera import Camera
from offnormal.sources.health import CameraHealth, Finding, SmallPicture
from offnormal.sources.live_reader import CameraOptions
from offnormal.sources.paths import Address
from offnormal.sources.privacy import read_privacy_mask
from offnormal.sources.watched_folder import Watching
from offnormal.types import Frame, Gap, Mask, Scores
from offnormal.watching.config import CameraConfig

TORN = "torn: frames were lost, or their clock jumped"
_CONNECT_S = 15.0  # that a check waits for the first frame of a source
_POLL_S = 0.2  # between two looks at whether it was refused
_CATCH_UP = 0.05  # seconds a second by which the time of day is led back where it was set back
_STEP_S = 0.001  # between two frames at least: events bear times to the millisecond


@dataclass(frozen=True, slots=True, eq=False)
class JudgedFrame:
    """A frame with all that events are made of."""

    time_s: float  # seconds since 1970
    arrived_s: float | None  # on the monotonic clock; None: of a recording
    image: np.ndarray
    score: float  # NaN: none
    map: np.ndarray | None
    quiet: bool  # the whole scene changes: anomalies say nothing
    findings: tuple[Finding, ...]  # about the camera itself
    restarts: bool = False  # the clock of the recording starts again with it


class WallClock:
    """Moments of the monotonic clock as seconds since 1970 that always rise, also where the system's clock is set.

    Set forward it is followed at once, as on a machine that learns the time after it has started; set back it is
    approached by a twentieth of a second a second. May be used by several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_s = time.monotonic()
        self._offset_s = time.time() - self._at_s

    def of(self, monotonic_s: float) -> float:
        """Seconds since 1970 of a moment."""
        with self._lock:
            now_s = time.monotonic()
            wanted_s = time.time() - now_s
            self._offset_s = max(wanted_s, self._offset_s - _CATCH_UP * (now_s - self._at_s))
            self._at_s = now_s
            return monotonic_s + self._offset_s

    def now(self) -> float:
        """Seconds since 1970."""
        return self.of(time.monotonic())


class _PushedFrame(NamedTuple):
    """What is known of a frame before its score."""

    frame_index: int
    time_s: float
    arrived_s: float | None
    quiet: bool
    findings: tuple[Finding, ...]


class CameraSetup:
    """What is watched and how: source, bundle, mask, zones, rules.

    Raises ConfigError for zones with a detector whose score is not pooled from a map.
    """

    def __init__(self, config: CameraConfig, bundle: Bundle) -> None:
        self.config, self.bundle = config, bundle
        self.name = config.name
        self.address = Address.parse(config.source)
        self.mask: Mask | None = (
            bundle.input.mask if config.privacy_mask is None else read_privacy_mask(config.privacy_mask)
        )
        self.is_recording = self.address.kind == "file" and not config.realtime
        self.rules = EventRules.from_config(config.rules)
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
            patience=chosen.patience,
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


class CameraFrames:
    """The frames of one camera on their way to their scores.

    `push` and `idle` are called by the thread that reads the camera, `rescore`, `judge` and the rest by the one that
    scores. clock: None for a recording, whose frames have times from `began`.
    """

    def __init__(self, setup: CameraSetup, live: LiveScorer, clock: WallClock | None, *, pictures: bool = True) -> None:
        self.setup, self.clock = setup, clock
        self._live = live
        self._pictures = pictures
        began = setup.config.start_time
        self.began_s = 0.0 if began is None else began.timestamp()
        self._windows = LiveWindows(setup.spec)
        parts = setup.address.kind == "folder"  # of an inspection line, each a picture of its own
        self._health = (
            None if parts else CameraHealth(setup.config.health, now_s=self.began_s if clock is None else clock.now())
        )
        self._origin_s: float | None = None  # of the frames' times, on the monotonic clock
        self._last_s = -np.inf
        self._size: tuple[int, int] | None = None
        self._pooling: ZonedPooling | None = None
        self._waiting: deque[_PushedFrame] = deque()
        self._idle_findings: deque[Finding] = deque()  # found while no frame came

    def push(self, item: Frame | Gap) -> list[Clip[ResizedFrame] | Gap]:
        """Take the next frame or gap; the gap, or the clip that the frame completes, if it does.

        Before the clip comes a gap where the frame begins anew without one: no clip will speak of those before it.
        """
        if isinstance(item, Gap):
            if self._health is not None:
                self._health.gap()
            self._live.see(self.setup.name, item)
            self._windows.push(item)
            return [item]
        size = (item.image.shape[0], item.image.shape[1])
        if size != self._size:
            self._size, self._pooling = size, self.setup.pooling(size)
        time_s = self._time(item)
        findings = [] if self._health is None else self._health.look(SmallPicture.of(item.image), time_s)
        quiet = self._health is not None and self._health.suppresses
        arrived_s = None if self.clock is None else item.arrived_s
        self._waiting.append(_PushedFrame(item.index, time_s, arrived_s, quiet, tuple(findings)))
        clips = self._windows.push(item)
        gaps = [Gap(reason=TORN, arrived_s=time.monotonic(), utc_s=0.0)] if self._windows.torn else []
        for gap in gaps:
            self._live.see(self.setup.name, gap)
        self._live.see(self.setup.name, replace(item, image=self._kept(item.image)))
        return [*gaps, *clips]

    def idle(self) -> None:
        """No frame has come."""
        if self._health is not None and self.clock is not None:
            self._idle_findings.extend(self._health.tick(self.clock.now()))

    def rescore(self, scores: Scores) -> Scores:
        """Scores by the zones alone."""
        return scores if self._pooling is None else self._pooling.rescore(scores)

    def judge(self, scored: ScoredFrame) -> JudgedFrame:
        """A scored frame with what was known of it."""
        pushed = self._waiting.popleft()
        while pushed.frame_index < scored.frame.index:  # one that was lost on its way
            pushed = self._waiting.popleft()
        assert pushed.frame_index == scored.frame.index, "frames come back once and in order"
        _, time_s, arrived_s, quiet, findings = pushed
        frame = scored.frame
        return JudgedFrame(
            time_s, arrived_s, frame.image, scored.score, scored.map, quiet, findings, restarts=frame.restarts
        )

    def idle_findings(self) -> list[Finding]:
        """What was found while no frame came."""
        return [self._idle_findings.popleft() for _ in range(len(self._idle_findings))]

    @property
    def over_s(self) -> float | None:
        """Before this time nothing more comes, in seconds since 1970; None: who knows."""
        if self.clock is None:
            return None
        now_s = self.clock.now() - 1.0  # what is read now may bear a time a little earlier
        try:
            return min(now_s, self._waiting[0].time_s - _STEP_S)
        except IndexError:
            return now_s

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
        longest = self.setup.config.record.longest
        if longest is None or max(image.shape[:2]) <= longest:
            return image
        shown = Image.fromarray(image)
        shown.thumbnail((longest, longest), Image.Resampling.BILINEAR)
        return np.asarray(shown)


def rescore_by_zones(cameras: dict[str, CameraFrames]) -> Callable[[str, Scores], Scores]:
    """For a `LiveScorer`: the scores of each source by its own zones."""
    return lambda source, scores: cameras[source].rescore(scores)


def first_frame(setup: CameraSetup) -> str:
    """What a source gave within some seconds, in words."""
    with Camera(setup.name, setup.address, setup.options()) as camera:
        item, end_s = None, time.monotonic() + _CONNECT_S
        while item is None and camera.status.state == "connecting" and time.monotonic() < end_s:
            item = camera.take(_POLL_S)
        if not isinstance(item, Frame):
            return f"no frame: {camera.status.reason or f'nothing within {_CONNECT_S:g} s'}"
        height, width = item.image.shape[:2]
        setup.pooling((height, width))
        return f"{width} x {height}"
