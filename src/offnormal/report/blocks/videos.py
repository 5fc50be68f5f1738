"""Videos: scores over time on one axis, and the tables of videos, of labeled spans, and of alarms."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offnormal.drawing.axis import ScoreAxis
from offnormal.drawing.timeline import timeline
from offnormal.drawing.wording import NONE, clock_text, counted, duration, metric, percent, score, share
from offnormal.evaluation.alarms import Span, VideoAlarm
from offnormal.evaluation.evaluate import Evaluation
from offnormal.metrics.video import FrameScores, VideoRow
from offnormal.report.block import Block, Cell, Column, Element, Legend, Plot, Plots, Table, Text
from offnormal.report.blocks.scores import NARROW, WIDE, axis_text, score_axis
from offnormal.report.blocks.summary import rules_text

VIDEOS_SHOWN = 400
SPANS_SHOWN = ALARMS_SHOWN = 100
_EVERY_FRAME = "scores.csv has every frame"


@dataclass(frozen=True, slots=True)
class VideoLine:
    """One video and what happened in it."""

    row: VideoRow
    series: FrameScores
    notes: list[str]  # why frames have no score, and why the video has no AUC
    alarms: list[VideoAlarm]
    spans: list[Span]

    @property
    def highest(self) -> float | None:
        """Its highest score; None: nothing was scored."""
        return float(np.nanmax(self.series.scores)) if self.series.scored.any() else None

    @property
    def false_alarms(self) -> int:
        """Alarms that touch no labeled span."""
        return sum(row.is_false is True for row in self.alarms)

    @property
    def missed(self) -> int:
        """Spans with scores during which no alarm was on."""
        return sum(span.is_scored and span.delay_s is None for span in self.spans)

    @property
    def scored_spans(self) -> int:
        """Spans with scores."""
        return sum(span.is_scored for span in self.spans)


def video_lines(evaluation: Evaluation) -> list[VideoLine]:
    """Every video in the order of the dataset; none unless frames were scored."""
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
    """A row for each video; columns that nothing fills are left out."""
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
            for number, line in enumerate(lines[:VIDEOS_SHOWN])
        ],
        more=max(len(lines) - VIDEOS_SHOWN, 0),
        style="tall",
    )
    return Block(name="videos", title="Videos", elements=[table])


def spans(evaluation: Evaluation) -> Block | None:
    """Labeled spans, the missed ones first and then the slowest; None without alarms or spans."""
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
        for span in ordered[:SPANS_SHOWN]
    ]
    columns = [Column("video", "path"), *map(Column, ("from", "to", "frames", "delay"))]
    more = max(len(ordered) - SPANS_SHOWN, 0)
    note = "Missed ones first, then the slowest; the delay is from the start of a span until an alarm was open."
    elements: list[Element] = [
        Text(text=note, tone="quiet"),
        Table(columns=columns, rows=rows, more=more, where=_EVERY_FRAME, style="tall"),
    ]
    return Block(name="spans", title="Labeled spans", elements=elements)


def alarms(evaluation: Evaluation) -> Block | None:
    """Alarms, false ones first and of them the highest; None where there are none."""
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
        for row, peak in ordered[:ALARMS_SHOWN]
    ]
    titles = ("from", "to", "length", "highest frame", "score")
    columns = [Column("video", "path"), *map(Column, titles), *[Column("alarm", "text")] * evaluation.labeled]
    order = "False ones first, each kind by its highest score" if evaluation.labeled else "The highest first"
    more = max(len(ordered) - ALARMS_SHOWN, 0)
    elements: list[Element] = [
        Text(text=f"{order}. Alarms: {rules_text(report.rules)}.", tone="quiet"),
        Table(columns=columns, rows=rows, more=more, where=_EVERY_FRAME, style="tall"),
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


LARGE_SHOWN = 12
SMALL_SHOWN = 150  # of some 12 kB each
_SMALL = 420  # pixels of one of two in a row
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
    return -wrong, 1.0 if line.row.auc is None else line.row.auc, 0.0 if line.highest is None else -line.highest


def _plot(line: VideoLine, threshold: float | None, axis: ScoreAxis, width: int, narrow: str = "") -> Plot:
    return Plot(svg=_drawn(line, threshold, axis, width), narrow=narrow, title=line.row.name, about=_about(line))


def _drawn(line: VideoLine, threshold: float | None, axis: ScoreAxis, width: int) -> str:
    alarms = None if threshold is None else [(row.alarm.start, row.alarm.stop) for row in line.alarms]
    return timeline(line.series, threshold=threshold, alarms=alarms, axis=axis, width=width)


def _about(line: VideoLine) -> str:
    """What happened in a video, in one line."""
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
