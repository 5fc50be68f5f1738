"""Recordings as fast as the machine can, by the very steps of a live camera: for dry runs and for alarm budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np

from offnormal.data.live_windows import ReadyItem
from offnormal.metrics.video import FrameScores
from offnormal.scoring import LiveScorer, ScoredFrame, Scorer
from offnormal.sources.camera import Camera
from offnormal.types import Event, Frame, Gap
from offnormal.watching.camera import WatchedCamera
from offnormal.watching.frames import CameraFrames, CameraSetup, rescore_by_zones
from offnormal.watching.thresholds import Measured, Thresholds

Count = Callable[[int], None]


@dataclass(slots=True)
class DryRun:
    """What watching a recording would have raised."""

    camera: str
    source: str
    thresholds: Thresholds
    events: list[Event] = field(default_factory=list)  # closed ones, by their ends
    seconds: float = 0.0  # from the first frame to the last
    frames: int = 0
    scored: int = 0
    passed_over: int = 0  # frames above the threshold outside of the schedule, or while the whole scene changed
    took_s: float = 0.0

    @property
    def anomalies(self) -> list[Event]:
        """Events that are not of the camera itself; one that goes on as another counts once."""
        return [event for event in self.events if event.kind == "anomaly"]

    @property
    def alarms(self) -> int:
        """How many alerts there would have been."""
        return sum(event.continues is None for event in self.anomalies)


def dry_run(
    setup: CameraSetup, thresholds: Thresholds, scorer: Scorer, *, batch_size: int, count: Count | None = None
) -> DryRun:
    """The events of a recording; nothing is recorded or delivered. count: called with frames as they are scored."""
    run = DryRun(setup.name, str(setup.address), thresholds)
    start_s = perf_counter()
    frames, scores = _scored(setup, scorer, batch_size, count)
    camera = WatchedCamera(frames, thresholds, callback=lambda event: _keep(run, event))
    first_s = last_s = None
    for scored in scores:
        if isinstance(scored, ScoredFrame):
            time_s = scored.frame.time_s or 0.0
            first_s, last_s = time_s if first_s is None else first_s, time_s
        camera.take(scored)
    camera.finish()
    run.seconds = 0.0 if first_s is None or last_s is None else last_s - first_s
    run.scored = camera.counted.scored
    run.frames = camera.counted.scored + camera.counted.unscored
    run.passed_over = camera.events.missed
    run.took_s = perf_counter() - start_s
    return run


def score_footage(
    setup: CameraSetup, videos: Sequence[Path], scorer: Scorer, *, batch_size: int, count: Count | None = None
) -> Measured:
    """Scores over time of a camera's recordings, as watching makes them, and the highest value of every map.

    While the whole scene changes, and where there is no score, it is NaN.
    """
    series, peaks = [], []
    for number, path in enumerate(videos):
        config = setup.config.model_copy(update={"source": str(path), "realtime": False, "start_time": None})
        frames, scores = _scored(CameraSetup(config, setup.bundle), scorer, batch_size, count)
        rows: list[tuple[float, float, float]] = []
        restarts: list[int] = []
        for scored in scores:
            if isinstance(scored, ScoredFrame):
                judged = frames.judge(scored)
                peak = judged.score if judged.map is None else float(judged.map.max())
                if judged.restarts:
                    restarts.append(len(rows))
                rows.append((judged.time_s, np.nan if judged.quiet else judged.score, peak))
        table = np.array(rows, dtype=np.float64).reshape(-1, 3)
        series.append(FrameScores(f"{number}-{path.name}", table[:, 1], None, table[:, 0], restarts=restarts))
        peaks.append(table[:, 2])
    return series, peaks


def _keep(run: DryRun, event: Event) -> None:
    if event.state == "closed":
        run.events.append(event)


def _scored(
    setup: CameraSetup, scorer: Scorer, batch_size: int, count: Count | None
) -> tuple[CameraFrames, Iterator[ScoredFrame | Gap]]:
    """The scored frames of a recording, in order, and what is known of them.

    One reader thread decodes ahead while batches are scored here.
    """
    cameras: dict[str, CameraFrames] = {}
    live = LiveScorer(scorer, rescore=rescore_by_zones(cameras))
    frames = cameras[setup.name] = CameraFrames(setup, live, None, pictures=False)

    def scores() -> Iterator[ScoredFrame | Gap]:
        batch: list[ReadyItem] = []
        with Camera(setup.name, setup.address, setup.options()) as camera:
            for item in camera:
                batch += [ReadyItem(setup.name, clip, 0.0) for clip in frames.push(item)]
                if isinstance(item, Frame) and count is not None:
                    count(1)
                if len(batch) >= batch_size:
                    yield from (one for _, one in live.score(batch))
                    batch = []
        yield from (one for _, one in live.score(batch))
        yield from live.finish(setup.name)

    return frames, scores()
