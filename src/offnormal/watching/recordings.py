"""Process recordings as fast as possible with the steps of a live camera, for dry runs and alarm budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np

from offnormal.data.live_windows import ReadyItem
from offnormal.metrics.clock import Clock
from offnormal.metrics.video import FrameScores
from offnormal.scoring import LiveScorer, ScoredFrame, Scorer
from offnormal.sources.camera import Camera
from offnormal.types import Event, Frame, Gap
from offnormal.watching.camera import WatchedCamera
from offnormal.watching.frames import CameraFrames, CameraSetup, rescore_by_zones
from offnormal.watching.thresholds import FootageScores, Thresholds

Count = Callable[[int], None]


@dataclass(slots=True)
class DryRun:
    """The result of a dry run: the events that watching a recording would have raised."""

    camera: str
    source: str
    thresholds: Thresholds
    events: list[Event] = field(default_factory=list)  # closed, ordered by end
    seconds: float = 0.0  # of footage
    frames: int = 0
    scored: int = 0
    suppressed_frames: int = 0  # frames above the threshold outside the schedule, or while the whole scene changed
    took_s: float = 0.0

    @property
    def anomalies(self) -> list[Event]:
        """Events that are not about the camera itself."""
        return [event for event in self.events if event.kind == "anomaly"]

    @property
    def alarms(self) -> int:
        """Number of alarms; an event that continues another does not count again."""
        return sum(event.continues is None for event in self.anomalies)


def dry_run(
    setup: CameraSetup, thresholds: Thresholds, scorer: Scorer, *, batch_size: int, count: Count | None = None
) -> DryRun:
    """Find the events of a recording without recording or delivering them. count: called with each frame read."""
    run = DryRun(setup.name, str(setup.address), thresholds)
    start_s = perf_counter()
    frames, scores = _score_recording(setup, scorer, batch_size, count)
    camera = WatchedCamera(frames, thresholds, callback=lambda event: _add_closed(run, event))
    times_s: list[float] = []
    restarts: list[int] = []
    for scored in scores:
        if isinstance(scored, ScoredFrame):
            restarts += [len(times_s)] if scored.frame.restarts else []
            times_s.append(scored.frame.time_s or 0.0)
        camera.push(scored)
    camera.finish()
    run.seconds = Clock.from_times(times_s, restarts=restarts).seconds or 0.0
    run.scored = camera.counts.scored
    run.frames = camera.counts.scored + camera.counts.unscored
    run.suppressed_frames = camera.events.suppressed_scores
    run.took_s = perf_counter() - start_s
    return run


def score_footage(
    setup: CameraSetup, videos: Sequence[Path], scorer: Scorer, *, batch_size: int, count: Count | None = None
) -> FootageScores:
    """Score a camera's recordings as `watch` does; also return the highest value of every map.

    A score is NaN where there is none, and while the whole scene changes.
    """
    series, peaks = [], []
    for number, path in enumerate(videos):
        config = setup.config.model_copy(update={"source": str(path), "realtime": False, "start_time": None})
        frames, scores = _score_recording(CameraSetup(config, setup.bundle), scorer, batch_size, count)
        rows: list[tuple[float, float, float]] = []
        restarts: list[int] = []
        for scored in scores:
            if isinstance(scored, ScoredFrame):
                judged = frames.judge(scored)
                peak = judged.score if judged.map is None else float(judged.map.max())
                if judged.restarts:
                    restarts.append(len(rows))
                rows.append((judged.time_s, np.nan if judged.scene_changes else judged.score, peak))
        table = np.array(rows, dtype=np.float64).reshape(-1, 3)
        series.append(FrameScores(f"{number}-{path.name}", table[:, 1], None, table[:, 0], restarts=restarts))
        peaks.append(table[:, 2])
    return series, peaks


def _add_closed(run: DryRun, event: Event) -> None:
    if event.state == "closed":
        run.events.append(event)


def _score_recording(
    setup: CameraSetup, scorer: Scorer, batch_size: int, count: Count | None
) -> tuple[CameraFrames, Iterator[ScoredFrame | Gap]]:
    """The camera's frames and the scored frames of a recording, in order.

    A reader thread prefetches frames while batches are scored in this thread.
    """
    cameras: dict[str, CameraFrames] = {}
    live = LiveScorer(scorer, rescore=rescore_by_zones(cameras))
    frames = cameras[setup.name] = CameraFrames(setup, live, None, keep_images=False)

    def scores() -> Iterator[ScoredFrame | Gap]:
        batch: list[ReadyItem] = []
        with Camera(setup.name, setup.address, setup.options()) as camera:
            for item in camera:
                batch += [ReadyItem(setup.name, clip, 0.0) for clip in frames.push(item)]
                if isinstance(item, Frame) and count is not None:
                    count(1)
                if len(batch) >= batch_size:
                    yield from (scored for _, scored in live.score(batch))
                    batch = []
        yield from (scored for _, scored in live.score(batch))
        yield from live.finish(setup.name)

    return frames, scores()
