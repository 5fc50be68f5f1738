"""The timelines of a report of videos on one axis: all of few, and of many first those with the most to look at."""

from __future__ import annotations

from dataclasses import dataclass

from offnormal.drawing.axis import ScoreAxis
from offnormal.drawing.time_text import clock_text
from offnormal.drawing.timeline import timeline
from offnormal.report.video_tables import VideoLine
from offnormal.report.wording import counted, share
from offnormal.video_evaluation import ScoredVideo, VideoEvaluation

LARGE_SHOWN = 12
SMALL_SHOWN = 150  # of some 12 kB each
_WIDE, _NARROW, _SMALL = 1060, 380, 480  # pixels on a screen, on a telephone, and of one of two in a row


@dataclass(frozen=True, slots=True)
class Chart:
    """The timeline of one video."""

    name: str
    about: str
    wide: str  # <svg>
    narrow: str  # the same for a telephone; "" where `wide` serves both


@dataclass(frozen=True, slots=True)
class Charts:
    """Timelines in the order of the data set."""

    large: list[Chart]
    small: list[Chart]  # folded away
    left_out: int


def timelines(evaluation: VideoEvaluation, lines: list[VideoLine], axis: ScoreAxis) -> Charts:
    """Every video large where there are few; else those with the most false alarms and misses, and the others small.

    lines: of every video, from `video_tables.videos`. Beyond what a page can bear the quietest are left out.
    """
    order = sorted(range(len(lines)), key=lambda place: _quietness(lines[place]))
    large, small = sorted(order[:LARGE_SHOWN]), sorted(order[LARGE_SHOWN : LARGE_SHOWN + SMALL_SHOWN])
    every = evaluation.videos
    return Charts(
        large=[
            Chart(
                lines[place].name,
                _about(lines[place]),
                _drawn(evaluation, every[place], lines[place], axis, _WIDE),
                _drawn(evaluation, every[place], lines[place], axis, _NARROW),
            )
            for place in large
        ],
        small=[
            Chart(
                lines[place].name,
                _about(lines[place]),
                _drawn(evaluation, every[place], lines[place], axis, _SMALL),
                "",
            )
            for place in small
        ],
        left_out=len(lines) - len(large) - len(small),
    )


def _quietness(line: VideoLine) -> tuple[int, float, float]:
    """Lowest first: false alarms and misses, then how badly its frames are ordered, then how high it reaches."""
    wrong = line.false_alarms + line.missed
    return -wrong, 1.0 if line.auc is None else line.auc, 0.0 if line.highest is None else -line.highest


def _drawn(evaluation: VideoEvaluation, video: ScoredVideo, line: VideoLine, axis: ScoreAxis, width: int) -> str:
    threshold = evaluation.calibration.threshold if evaluation.calibration is not None else None
    alarms = [(alarm.start, alarm.stop) for alarm in line.alarms] if evaluation.operation is not None else None
    return timeline(video.scores, threshold=threshold, alarms=alarms, axis=axis, width=width)


def _about(line: VideoLine) -> str:
    """What happened in a video, in one line."""
    parts = [counted(line.frames, "frame", "frames")]
    if line.length_s is not None:
        parts.insert(0, clock_text(line.length_s))
    if line.auc is not None:
        parts.append(f"AUC {share(line.auc)}")
    if line.judged:
        parts.append(f"{line.judged - line.missed:,} of {counted(line.judged, 'span', 'spans')} caught")
    if line.false_alarms:
        parts.append(counted(line.false_alarms, "false alarm", "false alarms"))
    elif line.alarms and line.anomalous is None:
        parts.append(counted(len(line.alarms), "alarm", "alarms"))
    return " · ".join(parts)
