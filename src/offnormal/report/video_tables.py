"""The tables of a report of videos: each video, labelled spans, alarms, what is missing and what was noticed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from offnormal.metrics.operational import Alarm, Span
from offnormal.metrics.video import METRICS, PER_VIDEO_NORM, SMOOTHED
from offnormal.report.tables import NOT_CALIBRATED, Gap, pixel_gaps
from offnormal.report.wording import counted
from offnormal.video_evaluation import ScoredVideo, VideoEvaluation

VIDEOS_SHOWN = 400
SPANS_SHOWN = ALARMS_SHOWN = 100
REMARKS_SHOWN = 25


@dataclass(frozen=True, slots=True)
class VideoLine:
    """One video of the table."""

    name: str
    length_s: float | None  # None: no clock
    frames: int
    not_scored: int
    notes: list[str]  # why frames have no score, and why the video has no AUC
    anomalous: int | None  # of the scored frames; None: no labels
    scored: int
    auc: float | None
    highest: float | None  # score; None: nothing was scored
    alarms: list[Alarm] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    @property
    def false_alarms(self) -> int:
        """Alarms that touch no labelled span."""
        return sum(alarm.false is True for alarm in self.alarms)

    @property
    def missed(self) -> int:
        """Spans with scores during which no alarm was on."""
        return sum(span.scored and span.delay_s is None for span in self.spans)

    @property
    def judged(self) -> int:
        """Spans with scores."""
        return sum(span.scored for span in self.spans)


@dataclass(frozen=True, slots=True)
class AlarmLine:
    """One alarm with the score at its peak."""

    alarm: Alarm
    score: float


def videos(evaluation: VideoEvaluation) -> list[VideoLine]:
    """Every video in the order of the data set."""
    operation = evaluation.operation
    alarms, spans = defaultdict(list), defaultdict(list)
    for alarm in operation.alarms if operation is not None else ():
        alarms[alarm.video].append(alarm)
    for span in operation.spans if operation is not None else ():
        spans[span.video].append(span)
    return [
        VideoLine(
            name=row.name,
            length_s=length_s(video),
            frames=row.frames,
            not_scored=row.not_scored,
            notes=_notes(video, row.reason),
            anomalous=row.anomalous,
            scored=row.frames - row.not_scored,
            auc=row.auc,
            highest=float(np.nanmax(video.scores.scores)) if video.scores.scored.any() else None,
            alarms=alarms[row.name],
            spans=spans[row.name],
        )
        for row, video in zip(evaluation.detail.videos, evaluation.videos, strict=True)
    ]


def spans(evaluation: VideoEvaluation) -> tuple[list[Span], int]:
    """Labelled spans, the missed ones first and then the slowest, and how many more there are; none without alarms."""
    found = evaluation.operation.spans if evaluation.operation is not None else []
    ordered = sorted(found, key=lambda span: -np.inf if span.delay_s is None else -span.delay_s)
    return ordered[:SPANS_SHOWN], max(len(ordered) - SPANS_SHOWN, 0)


def alarms(evaluation: VideoEvaluation) -> tuple[list[AlarmLine], int]:
    """Alarms, false ones first and of them the highest, and how many more there are."""
    if evaluation.operation is None:
        return [], 0
    series = {video.name: video.scores.scores for video in evaluation.videos}
    lines = [AlarmLine(alarm, float(series[alarm.video][alarm.peak])) for alarm in evaluation.operation.alarms]
    lines.sort(key=lambda line: (line.alarm.false is False, -line.score))
    return lines[:ALARMS_SHOWN], max(len(lines) - ALARMS_SHOWN, 0)


def gaps(evaluation: VideoEvaluation) -> list[Gap]:
    """Metrics that could not be computed, those with one reason together, and bounds of those that are not exact."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, reason in evaluation.missing.items():
        by_reason[reason].append(name)
    found = [Gap(", ".join(_brief(names)), reason) for reason, names in by_reason.items()]
    if evaluation.calibration is None:
        found.append(NOT_CALIBRATED)
    return found + pixel_gaps(evaluation)


def remarks(evaluation: VideoEvaluation) -> tuple[list[Gap], int]:
    """What was noticed while videos were read (a truncated file), and how much more there is."""
    found = [Gap(video.name, warning) for video in evaluation.videos for warning in video.warnings]
    return found[:REMARKS_SHOWN], max(len(found) - REMARKS_SHOWN, 0)


def length_s(video: ScoredVideo) -> float | None:
    """How long a video lasts in seconds; None where it has no clock."""
    return video.scores.clock.seconds


def _notes(video: ScoredVideo, no_auc: str | None) -> list[str]:
    frames: Counter[str] = Counter()
    for span in video.not_scored:
        frames[span.reason] += span.stop - span.start
    notes = [f"{number:,} not scored: {reason}" for reason, number in frames.most_common()]
    return notes if no_auc is None or video.scores.labels is None else [*notes, f"no AUC: {no_auc}"]


def _brief(names: Sequence[str]) -> list[str]:
    """Names of metrics, without the variants of those that are named themselves."""
    plain = [name for name in names if not _is_variant(name, names)]
    variants = len(names) - len(plain)
    return [*plain, f"and {counted(variants, 'variant', 'variants')}"] if variants else plain


def _is_variant(name: str, names: Iterable[str]) -> bool:
    base = next((metric for metric in METRICS if name.startswith(metric)), name)
    return base != name and base in names and name.endswith((SMOOTHED, PER_VIDEO_NORM))
