"""Scores over time on one axis: all of few videos, and of many first those with the most to look at."""

from __future__ import annotations

from offnormal.drawing.axis import ScoreAxis
from offnormal.drawing.time_text import clock_text
from offnormal.drawing.timeline import timeline
from offnormal.evaluation.evaluate import Evaluation
from offnormal.report.block import Block, Element, Legend, Plot, Plots, Text
from offnormal.report.blocks.distribution import NARROW, WIDE
from offnormal.report.blocks.scores import axis_text, score_axis
from offnormal.report.blocks.videos import VideoLine, video_lines
from offnormal.report.wording import counted, score, share

LARGE_SHOWN = 12
SMALL_SHOWN = 150  # of some 12 kB each
_SMALL = 480  # pixels of one of two in a row
_KEYS = (("in alarm", "anomalous", ""), ("labeled anomalous", "anomalous", "shade"), ("not scored", "muted", "hatched"))


def timelines(evaluation: Evaluation) -> Block | None:
    """Every video large where there are few; else those with the most false alarms and misses, the others small.

    Beyond what a page can hold the quietest are left out. None unless frames were scored.
    """
    lines = video_lines(evaluation)
    if not lines:
        return None
    axis = score_axis(evaluation)
    order = sorted(range(len(lines)), key=lambda number: _quietness(lines[number]))
    large, small = sorted(order[:LARGE_SHOWN]), sorted(order[LARGE_SHOWN : LARGE_SHOWN + SMALL_SHOWN])
    about = f"One axis of scores for all videos, from {score(axis.low)} to {score(axis.high)}"
    about += f" ({axis_text(axis)})." if axis_text(axis) else "."
    if small:
        about += (
            f" The {len(large)} videos with the most false alarms and misses, then with the lowest AUC or the highest "
            "scores."
        )
    elements: list[Element] = [Text(text=about, tone="quiet"), Legend(_KEYS)]
    elements += [
        _plot(
            lines[number], evaluation.threshold, axis, WIDE, _drawn(lines[number], evaluation.threshold, axis, NARROW)
        )
        for number in large
    ]
    if small:
        plots = [_plot(lines[number], evaluation.threshold, axis, _SMALL) for number in small]
        elements.append(Plots(plots=plots, columns="two", summary=counted(len(small), "other video", "other videos")))
    if more := len(lines) - len(large) - len(small):
        elements.append(Text(text=f"and {more:,} more; scores.csv has every frame.", tone="quiet"))
    return Block(name="timeline", title="Scores over time", elements=elements)


def _quietness(line: VideoLine) -> tuple[int, float, float]:
    """Lowest first: false alarms and misses, then how badly its frames are ordered, then its highest score."""
    wrong = line.false_alarms + line.missed
    return -wrong, 1.0 if line.auc is None else line.auc, 0.0 if line.highest is None else -line.highest


def _plot(line: VideoLine, threshold: float | None, axis: ScoreAxis, width: int, narrow: str = "") -> Plot:
    return Plot(svg=_drawn(line, threshold, axis, width), narrow=narrow, title=line.name, about=_about(line))


def _drawn(line: VideoLine, threshold: float | None, axis: ScoreAxis, width: int) -> str:
    alarms = None if threshold is None else [(row.alarm.start, row.alarm.stop) for row in line.alarms]
    return timeline(line.series, threshold=threshold, alarms=alarms, axis=axis, width=width)


def _about(line: VideoLine) -> str:
    """What happened in a video, in one line."""
    texts = [counted(line.frames, "frame", "frames")]
    if line.length_s is not None:
        texts.insert(0, clock_text(line.length_s))
    if line.auc is not None:
        texts.append(f"AUC {share(line.auc)}")
    if line.scored_spans:
        texts.append(f"{line.scored_spans - line.missed:,} of {counted(line.scored_spans, 'span', 'spans')} detected")
    if line.false_alarms:
        texts.append(counted(line.false_alarms, "false alarm", "false alarms"))
    elif line.alarms and line.anomalous is None:
        texts.append(counted(len(line.alarms), "alarm", "alarms"))
    return " · ".join(texts)
