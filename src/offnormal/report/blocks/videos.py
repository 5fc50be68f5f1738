"""Videos: scores over time, and the tables of videos, labeled spans, and alarms."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offnormal.drawing.axis import ScoreAxis
from offnormal.drawing.timeline import timeline
from offnormal.drawing.wording import NONE, clock_text, duration, metric, percent, score, share
from offnormal.errors import counted
from offnormal.evaluation.alarms import Span, VideoAlarm
from offnormal.evaluation.evaluate import Evaluation
from offnormal.metrics.video import FrameScores, VideoRow
from offnormal.report.block import Block, Cell, Column, Element, Legend, Plot, Plots, Table, Text
from offnormal.report.blocks.scores import NARROW, WIDE, axis_text, score_axis
from offnormal.report.blocks.summary import rules_text

VIDEO_LIMIT = 400
SPAN_LIMIT = ALARM_LIMIT = 100
_FULL_LIST = "scores.csv lists all frames"


@dataclass(frozen=True, slots=True)
class VideoLine:
    """One video with its alarms and labeled spans."""

    row: VideoRow
    series: FrameScores
    notes: list[str]  # why frames have no score, and why the video has no AUC
    alarms: list[VideoAlarm]
    spans: list[Span]

    @property
    def highest(self) -> float | None:
        """The highest score; None if nothing was scored."""
        return float(np.nanmax(self.series.scores)) if self.series.scored.any() else None

    @property
    def false_alarms(self) -> int:
        """Number of alarms outside labeled spans."""
        return sum(row.is_false is True for row in self.alarms)

    @property
    def missed(self) -> int:
        """Number of scored spans without an alarm."""
        return sum(span.is_scored and span.delay_s is None for span in self.spans)

    @property
    def scored_spans(self) -> int:
        """Number of spans with scores."""
        return sum(span.is_scored for span in self.spans)


def video_lines(evaluation: Evaluation) -> list[VideoLine]:
    """All videos in the order of the dataset; empty unless frames were scored."""
    if evaluation.frames is None:
        return []
    alarms, spans = defaultdict(list), defaultdict(list)
    if evaluation.alarms is not None:
        for alarm in evaluation.alarms.alarms:
            alarms[alarm.video].append(alarm)
        for span in evaluation.alarms.spans:
            spans[span.video].append(span)
    table = evaluation.table
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for item in table.items:
        for start, stop, why in table.reason:
            reasons[item.name][why] += max(0, min(stop, item.rows.stop) - max(start, item.rows.start))
    lines = []
    for row, series in zip(evaluation.frames.videos, table.series(fps=evaluation.assumed_fps), strict=True):
        notes = [f"{number:,} not scored: {why}" for why, number in reasons[row.name].most_common() if number]
        notes += [f"no AUC: {row.reason}"] * (row.reason is not None and series.labels is not None)
        lines.append(VideoLine(row, series, notes, alarms[row.name], spans[row.name]))
    return lines


def videos(evaluation: Evaluation) -> Block | None:
    """One row per video, without empty columns."""
    lines = video_lines(evaluation)
    if not lines:
        return None
    has_alarms, is_labeled = evaluation.alarms is not None, evaluation.labeled
    columns: dict[str, Sequence[str | Cell]] = {
        "length": [
            NONE if line.series.clock.seconds is None else clock_text(line.series.clock.seconds) for line in lines
        ],
        "frames": [f"{line.row.frames:,}" for line in lines],
        "not scored": [f"{line.row.not_scored:,}" for line in lines],
        "anomalous frames": [_anomalous(line) for line in lines] if is_labeled else [],
        "AUC": [metric(line.row.auc) for line in lines] if is_labeled else [],
        "spans detected": [
            f"{line.scored_spans - line.missed:,} of {line.scored_spans:,}" if line.scored_spans else NONE
            for line in lines
            if is_labeled and has_alarms
        ],
        "false alarms": [
            NONE if line.row.anomalous is None else f"{line.false_alarms:,}"
            for line in lines
            if is_labeled and has_alarms
        ],
        "alarms": [f"{len(line.alarms):,}" for line in lines if has_alarms and not is_labeled],
        "highest score": [score(line.highest) for line in lines],
        "notes": ["; ".join(line.notes) for line in lines] if any(line.notes for line in lines) else [],
    }
    filled = {title: cells for title, cells in columns.items() if cells}
    table = Table(
        columns=[Column("video", "path"), *(Column(title, "notes" if title == "notes" else "num") for title in filled)],
        rows=[
            [line.row.name, *(cells[number] for cells in filled.values())]
            for number, line in enumerate(lines[:VIDEO_LIMIT])
        ],
        more=max(len(lines) - VIDEO_LIMIT, 0),
        style="tall",
    )
    return Block(name="videos", title="Videos", elements=[table])


def spans(evaluation: Evaluation) -> Block | None:
    """Labeled spans, missed ones first, then by delay; None without alarms or spans."""
    if evaluation.alarms is None or not evaluation.alarms.spans:
        return None
    ordered = sorted(evaluation.alarms.spans, key=lambda span: -np.inf if span.delay_s is None else -span.delay_s)
    rows = [
        [
            span.video,
            clock_text(span.start_s),
            clock_text(span.end_s),
            f"{span.start:,} to {span.stop - 1:,}",
            _delay(span),
        ]
        for span in ordered[:SPAN_LIMIT]
    ]
    columns = [Column("video", "path"), *map(Column, ("from", "to", "frames", "delay"))]
    more = max(len(ordered) - SPAN_LIMIT, 0)
    note = "Missed spans first, then by delay. The delay is from the start of a span until an alarm opens."
    elements: list[Element] = [
        Text(text=note, tone="quiet"),
        Table(columns=columns, rows=rows, more=more, full_list=_FULL_LIST, style="tall"),
    ]
    return Block(name="spans", title="Labeled spans", elements=elements)


def alarms(evaluation: Evaluation) -> Block | None:
    """Alarms, false ones first, then by peak score; None without alarms."""
    report = evaluation.alarms
    if report is None or not report.alarms:
        return None
    first_row = {item.name: item.rows.start for item in evaluation.table.items}
    peaks = [float(evaluation.table.score[first_row[row.video] + row.alarm.peak]) for row in report.alarms]
    ordered = sorted(zip(report.alarms, peaks, strict=True), key=lambda pair: (pair[0].is_false is False, -pair[1]))
    words = {None: "no labels", True: "false", False: "true"}
    rows = [
        [
            row.video,
            clock_text(row.alarm.start_s),
            clock_text(row.alarm.end_s),
            duration(row.alarm.end_s - row.alarm.start_s),
            f"{row.alarm.peak:,}",
            score(peak),
            *[words[row.is_false]] * evaluation.labeled,
        ]
        for row, peak in ordered[:ALARM_LIMIT]
    ]
    titles = ("from", "to", "length", "peak frame", "peak score")
    columns = [Column("video", "path"), *map(Column, titles), *[Column("alarm", "text")] * evaluation.labeled]
    order = "False alarms first, then by peak score" if evaluation.labeled else "By peak score"
    more = max(len(ordered) - ALARM_LIMIT, 0)
    elements: list[Element] = [
        Text(text=f"{order}. Rules: {rules_text(report.rules)}.", tone="quiet"),
        Table(columns=columns, rows=rows, more=more, full_list=_FULL_LIST, style="tall"),
    ]
    return Block(name="alarms", title="Alarms", elements=elements)


def _anomalous(line: VideoLine) -> str | Cell:
    scored = line.row.frames - line.row.not_scored
    if line.row.anomalous is None:
        return Cell(note="no labels")
    share = line.row.anomalous / scored if scored else None
    return Cell(
        text=f"{line.row.anomalous:,}", note="" if share is None else percent(share), bar=share, color="anomalous"
    )


def _delay(span: Span) -> str | Cell:
    if span.delay_s is not None:
        return duration(span.delay_s)
    return Cell(badge="missed", is_alert=True) if span.is_scored else Cell(note="not scored")


LARGE_LIMIT = 12
SMALL_LIMIT = 150  # about 12 kB each
_SMALL = 420  # width in pixels; two per row
_KEYS = (("in alarm", "anomalous", ""), ("labeled anomalous", "anomalous", "shade"), ("not scored", "muted", "hatched"))


def timelines(evaluation: Evaluation) -> Block | None:
    """Scores over time: large for the videos with the most errors, small for others, up to the limits of a page.

    None unless frames were scored.
    """
    lines = video_lines(evaluation)
    if not lines:
        return None
    axis = score_axis(evaluation)
    order = sorted(range(len(lines)), key=lambda number: _sort_key(lines[number]))
    large, small = sorted(order[:LARGE_LIMIT]), sorted(order[LARGE_LIMIT : LARGE_LIMIT + SMALL_LIMIT])
    about = f"All videos have the same score axis, from {score(axis.low)} to {score(axis.high)}"
    about += f" ({axis_text(axis)})." if axis_text(axis) else "."
    if small:
        about += (
            f" Large: the {len(large)} videos with the most false alarms and missed spans, then with the lowest AUC or "
            "the highest scores."
        )
    elements: list[Element] = [Text(text=about, tone="quiet"), Legend(_KEYS)]
    elements += [
        _plot(lines[number], evaluation.threshold, axis, WIDE, _draw(lines[number], evaluation.threshold, axis, NARROW))
        for number in large
    ]
    if small:
        plots = [_plot(lines[number], evaluation.threshold, axis, _SMALL) for number in small]
        elements.append(Plots(plots=plots, columns="two", summary=counted(len(small), "other video", "other videos")))
    if more := len(lines) - len(large) - len(small):
        elements.append(Text(text=f"and {more:,} more; scores.csv lists all frames.", tone="quiet"))
    return Block(name="timeline", title="Scores over time", elements=elements)


def _sort_key(line: VideoLine) -> tuple[int, float, float]:
    """Sorts by most errors, then lowest AUC, then highest score."""
    wrong = line.false_alarms + line.missed
    return -wrong, 1.0 if line.row.auc is None else line.row.auc, 0.0 if line.highest is None else -line.highest


def _plot(line: VideoLine, threshold: float | None, axis: ScoreAxis, width: int, narrow: str = "") -> Plot:
    return Plot(svg=_draw(line, threshold, axis, width), narrow=narrow, title=line.row.name, about=_about(line))


def _draw(line: VideoLine, threshold: float | None, axis: ScoreAxis, width: int) -> str:
    alarms = None if threshold is None else [(row.alarm.start, row.alarm.stop) for row in line.alarms]
    return timeline(line.series, threshold=threshold, alarms=alarms, axis=axis, width=width)


def _about(line: VideoLine) -> str:
    """One line about a video."""
    texts = [counted(line.row.frames, "frame", "frames")]
    if line.series.clock.seconds is not None:
        texts.insert(0, clock_text(line.series.clock.seconds))
    if line.row.auc is not None:
        texts.append(f"AUC {share(line.row.auc)}")
    if line.scored_spans:
        texts.append(f"{line.scored_spans - line.missed:,} of {counted(line.scored_spans, 'span', 'spans')} detected")
    if line.false_alarms:
        texts.append(counted(line.false_alarms, "false alarm", "false alarms"))
    elif line.alarms and line.row.anomalous is None:
        texts.append(counted(len(line.alarms), "alarm", "alarms"))
    return " · ".join(texts)
