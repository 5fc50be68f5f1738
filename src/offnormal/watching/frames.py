"""One camera up to its scores: setup, clips from frames, scores by zone, and health of the camera."""

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
from offnormal.sources.health import CameraHealth, Finding, SmallImage
from offnormal.sources.live_reader import CameraOptions
from offnormal.sources.once_log import OnceLog
from offnormal.sources.paths import Address
from offnormal.sources.privacy import read_privacy_mask
from offnormal.sources.watched_folder import FolderWatchOptions
from offnormal.types import Frame, Gap, Mask, Scores
from offnormal.watching.config import CameraConfig

INTERRUPTED = "interrupted: frames were lost, or their clock jumped"
_CONNECT_S = 15.0  # longest wait of a check for the first frame of a source
_POLL_S = 0.2  # between two checks for a refused connection
_MAX_SLOWDOWN = 0.05  # seconds per second, to approach a system clock that was set back
_STEP_S = 0.001  # minimum between two frames, because event times are in milliseconds


@dataclass(frozen=True, slots=True, eq=False)
class JudgedFrame:
    """A scored frame with everything that its events need."""

    time_s: float  # seconds since 1970
    arrived_s: float | None  # on the monotonic clock; None: of a recording
    image: np.ndarray
    score: float  # NaN: none
    map: np.ndarray | None
    scene_changes: bool  # the whole scene changes, so anomalies mean nothing
    findings: tuple[Finding, ...]  # about the camera itself
    restarts: bool = False  # the clock of the recording restarts with it


class WallClock:
    """Converts the monotonic clock to seconds since 1970 that always rise, even if the system clock is set.

    If the system clock is set forward, it is followed at once; if it is set back, it is approached by 0.05 s per
    second. Safe for use by several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_s = time.monotonic()
        self._offset_s = time.time() - self._at_s

    def from_monotonic(self, monotonic_s: float) -> float:
        """Seconds since 1970 of a time of the monotonic clock."""
        with self._lock:
            now_s = time.monotonic()
            target_s = time.time() - now_s
            self._offset_s = max(target_s, self._offset_s - _MAX_SLOWDOWN * (now_s - self._at_s))
            self._at_s = now_s
            return monotonic_s + self._offset_s

    def now(self) -> float:
        """The current time in seconds since 1970."""
        return self.from_monotonic(time.monotonic())


class _PushedFrame(NamedTuple):
    """The facts about a frame before it is scored."""

    frame_index: int
    time_s: float
    arrived_s: float | None
    scene_changes: bool
    findings: tuple[Finding, ...]


class CameraSetup:
    """The setup of a camera: source, bundle, mask, zones, and rules.

    Raises ConfigError for zones with a detector that does not pool its score from a map.
    """

    def __init__(self, config: CameraConfig, bundle: Bundle) -> None:
        self.config, self.bundle = config, bundle
        self.name = config.name
        self.address = Address.parse(config.source)
        self.mask: Mask | None = (
            bundle.input.mask if config.privacy_mask is None else read_privacy_mask(config.privacy_mask)
        )
        self._notes = OnceLog()
        self.is_recording = self.address.kind == "file" and not config.realtime
        self.rules = EventRules.from_config(config.rules)
        if self.address.kind == "folder" and "min_duration" not in config.rules.model_fields_set:
            self.rules = self.rules.model_copy(update={"min_duration_s": 0.0})  # each image shows another part
        self.spec = replace(bundle.detector.input, mask=None)  # the mask is already painted on the frames
        LiveWindows(self.spec)  # raises for clips that no live source can provide
        if config.zones:
            self.pooling(self.spec.size)  # raises for zones without a map to pool

    def options(self, memory: Path | None = None) -> CameraOptions:
        """Options for reading the source. memory: file with which a watched folder resumes after a restart."""
        config = self.config
        return CameraOptions(
            fps=config.fps,
            mask=self.mask,
            realtime=config.realtime,
            transport=config.transport,
            folder_watch=FolderWatchOptions(
                memory=memory, levels=self.spec.levels, max_pixels=self.spec.max_pixels, notes=self._notes
            ),
            patience=config.patience,
        )

    def pooling(self, size: tuple[int, int]) -> ZonedPooling | None:
        """Pooling of the maps over the zones, for frames of size (H, W); None: the whole image is scored."""
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
    """Follows the frames of one camera until they are scored.

    The reading thread calls `push` and `idle`; the scoring thread calls `rescore`, `judge`, and all others. clock: None
    for a recording: its frame times count from `start_s`. keep_images: for recording.
    """

    def __init__(
        self, setup: CameraSetup, live: LiveScorer, clock: WallClock | None, *, keep_images: bool = True
    ) -> None:
        self.setup, self.clock = setup, clock
        self._live = live
        self._keep_images = keep_images
        start_time = setup.config.start_time
        self.start_s = 0.0 if start_time is None else start_time.timestamp()
        self._windows = LiveWindows(setup.spec)
        is_folder = setup.address.kind == "folder"  # of an inspection line, each image shows another part
        self._health = (
            None
            if is_folder
            else CameraHealth(setup.config.health, now_s=self.start_s if clock is None else clock.now())
        )
        self._origin_s: float | None = None  # zero of the frame times, on the monotonic clock
        self._last_s = -np.inf
        self._size: tuple[int, int] | None = None
        self._pooling: ZonedPooling | None = None
        self._waiting: deque[_PushedFrame] = deque()
        self._idle_findings: deque[Finding] = deque()  # from the time without a frame

    def push(self, item: Frame | Gap) -> list[Clip[ResizedFrame] | Gap]:
        """Add the next frame or gap; return the gap, or the clip that the frame completes.

        If frames before this one were lost, a gap precedes the clip: no clip will describe the earlier frames.
        """
        if isinstance(item, Gap):
            if self._health is not None:
                self._health.gap()
            self._live.add(self.setup.name, item)
            self._windows.push(item)
            return [item]
        size = (item.image.shape[0], item.image.shape[1])
        if size != self._size:
            self._size, self._pooling = size, self.setup.pooling(size)
        time_s = self._time(item)
        findings = [] if self._health is None else self._health.update(SmallImage.from_frame(item.image), time_s)
        scene_changes = self._health is not None and self._health.suppresses_anomalies
        arrived_s = None if self.clock is None else item.arrived_s
        self._waiting.append(_PushedFrame(item.index, time_s, arrived_s, scene_changes, tuple(findings)))
        clips = self._windows.push(item)
        gaps: list[Gap] = []
        if self._windows.has_unreported_gap:
            gaps.append(Gap(reason=INTERRUPTED, arrived_s=time.monotonic(), utc_s=0.0))
        for gap in gaps:
            self._live.add(self.setup.name, gap)
        self._live.add(self.setup.name, replace(item, image=self._shrink(item.image), deep=None))
        return [*gaps, *clips]

    def idle(self) -> None:
        """Check the health of the camera while no frame arrives."""
        if self._health is not None and self.clock is not None:
            self._idle_findings.extend(self._health.tick(self.clock.now()))

    def rescore(self, scores: Scores) -> Scores:
        """The scores pooled over the zones."""
        return scores if self._pooling is None else self._pooling.rescore(scores)

    def judge(self, scored: ScoredFrame) -> JudgedFrame:
        """Combine a scored frame with the facts from `push`."""
        pushed = self._waiting.popleft()
        while pushed.frame_index < scored.frame.index:  # a frame that was lost before it was scored
            pushed = self._waiting.popleft()
        assert pushed.frame_index == scored.frame.index, "each frame is scored once and in order"
        _, time_s, arrived_s, scene_changes, findings = pushed
        frame = scored.frame
        return JudgedFrame(
            time_s, arrived_s, frame.image, scored.score, scored.map, scene_changes, findings, restarts=frame.restarts
        )

    def idle_findings(self) -> list[Finding]:
        """Return and clear the findings from the time without a frame."""
        return [self._idle_findings.popleft() for _ in range(len(self._idle_findings))]

    @property
    def complete_until_s(self) -> float | None:
        """No more scores come from before this time, in seconds since 1970; None: unknown."""
        if self.clock is None:
            return None
        now_s = self.clock.now() - 1.0  # a frame that is being read may have a slightly earlier time
        try:
            return min(now_s, self._waiting[0].time_s - _STEP_S)
        except IndexError:
            return now_s

    def _time(self, frame: Frame) -> float:
        time_s = self.start_s + (frame.time_s or 0.0)
        if self.clock is not None:
            arrived_s = frame.arrived_s if frame.arrived_s is not None else time.monotonic()
            if self._origin_s is None:
                self._origin_s = arrived_s - (frame.time_s or 0.0)
            time_s = self.clock.from_monotonic(self._origin_s + (frame.time_s or 0.0))
        self._last_s = max(time_s, self._last_s + _STEP_S)
        return self._last_s

    def _shrink(self, image: np.ndarray) -> np.ndarray:
        """A frame no larger than it is recorded, because many wait for their score."""
        if not self._keep_images:
            return image[:1, :1].copy()
        longest = self.setup.config.record.longest
        if longest is None or max(image.shape[:2]) <= longest:
            return image
        thumbnail = Image.fromarray(image)
        thumbnail.thumbnail((longest, longest), Image.Resampling.BILINEAR)
        return np.asarray(thumbnail)


def rescore_by_zones(cameras: dict[str, CameraFrames]) -> Callable[[str, Scores], Scores]:
    """A function for `LiveScorer` that pools the scores of each source over its zones."""
    return lambda source, scores: cameras[source].rescore(scores)


def read_first_frame(setup: CameraSetup) -> str:
    """Size of the first frame of a source as HxW, or why none arrived in time."""
    with Camera(setup.name, setup.address, setup.options()) as camera:
        item, end_s = None, time.monotonic() + _CONNECT_S
        while item is None and camera.status.state == "connecting" and time.monotonic() < end_s:
            item = camera.take(_POLL_S)
        if not isinstance(item, Frame):
            return f"no frame: {camera.status.reason or f'no data within {_CONNECT_S:g} s'}"
        height, width = item.image.shape[:2]
        setup.pooling((height, width))
        return f"{height}x{width}"
