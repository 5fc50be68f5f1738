"""Recordings as fast as the machine can, by the very steps of a live camera: for dry runs and for alarm budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np

from offnormal.data.live_windows import Ready
from offnormal.metrics.video import FrameScores
from offnormal.scoring import LiveScorer, ScoredFrame, Scorer
from offnormal.sources.camera import Camera
from offnormal.types import Event, Frame, Gap
from offnormal.watching.camera import WatchedCamera
from offnormal.watching.seen import Seen, View, rescoring
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
        """How many people would have been told of."""
        return sum(event.continues is None for event in self.anomalies)


def dry_run(
    view: View, thresholds: Thresholds, scorer: Scorer, *, batch_size: int, count: Count | None = None
) -> DryRun:
    """The events of a recording; nothing is recorded and nobody told. count: hears of frames as they are scored."""
    found = DryRun(view.name, str(view.address), thresholds)
    start_s = perf_counter()
    seen, frames = _scored(view, scorer, batch_size, count)
    camera = WatchedCamera(seen, thresholds, tell=lambda event: _keep(found, event))
    first_s = last_s = None
    for one in frames:
        if isinstance(one, ScoredFrame):
            time_s = one.frame.time_s or 0.0
            first_s, last_s = time_s if first_s is None else first_s, time_s
        camera.take(one)
    camera.finish()
    found.seconds = 0.0 if first_s is None or last_s is None else last_s - first_s
    found.scored = camera.counted.scored
    found.frames = camera.counted.scored + camera.counted.unscored
    found.passed_over = camera.events.missed
    found.took_s = perf_counter() - start_s
    return found


def measured(
    view: View, videos: Sequence[Path], scorer: Scorer, *, batch_size: int, count: Count | None = None
) -> Measured:
    """Scores over time of a camera's recordings, as watching makes them, and the highest value of every map.

    While the whole scene changes, and where there is no score, it is NaN.
    """
    series, peaks = [], []
    for number, path in enumerate(videos):
        config = view.config.model_copy(update={"source": str(path), "realtime": False, "start_time": None})
        seen, frames = _scored(View(config, view.bundle), scorer, batch_size, count)
        rows = []
        for found in frames:
            if isinstance(found, ScoredFrame):
                judged = seen.judged(found)
                peak = judged.score if judged.map is None else float(judged.map.max())
                rows.append((judged.time_s, np.nan if judged.quiet else judged.score, peak))
        table = np.array(rows, dtype=np.float64).reshape(-1, 3)
        series.append(FrameScores(f"{number}-{path.name}", table[:, 1], None, table[:, 0]))
        peaks.append(table[:, 2])
    return series, peaks


def _keep(found: DryRun, event: Event) -> None:
    if event.state == "closed":
        found.events.append(event)


def _scored(
    view: View, scorer: Scorer, batch_size: int, count: Count | None
) -> tuple[Seen, Iterator[ScoredFrame | Gap]]:
    """The scored frames of a recording, in order, and what is known of them.

    One reader thread decodes ahead while batches are scored here.
    """
    cameras: dict[str, Seen] = {}
    live = LiveScorer(scorer, rescore=rescoring(cameras))
    seen = cameras[view.name] = Seen(view, live, None, pictures=False)

    def frames() -> Iterator[ScoredFrame | Gap]:
        batch: list[Ready] = []
        with Camera(view.name, view.address, view.options()) as camera:
            for item in camera:
                batch += [Ready(view.name, clip, 0.0) for clip in seen.look(item)]
                if isinstance(item, Frame) and count is not None:
                    count(1)
                if len(batch) >= batch_size:
                    yield from (one for _, one in live.score(batch))
                    batch = []
        yield from (one for _, one in live.score(batch))
        yield from live.end(view.name)

    return seen, frames()
