"""The tables of videos: each video, labeled spans, and alarms."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from offnormal.drawing.time_text import clock_text
from offnormal.evaluation.alarms import Span, VideoAlarm
from offnormal.evaluation.evaluate import Evaluation
from offnormal.metrics.video import FrameScores
from offnormal.report.block import Block, Cell, Column, Element, Table, Text
from offnormal.report.blocks.summary import rules_text
from offnormal.report.wording import NONE, duration, metric, percent, score

VIDEOS_SHOWN = 400
SPANS_SHOWN = ALARMS_SHOWN = 100
_EVERY_FRAME = "scores.csv has every frame"


@dataclass(frozen=True, slots=True)
class VideoLine:
    """One video and what happened in it."""

    series: FrameScores
    frames: int
    not_scored: int
    notes: list[str]  # why frames have no score, and why the video has no AUC
    anomalous: int | None  # of the scored frames; None: no labels
    auc: float | None
    alarms: list[VideoAlarm] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name in the dataset."""
        return self.series.name

    @property
    def length_s(self) -> float | None:
        """Seconds of footage; None without a clock."""
        return self.series.clock.seconds

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
        counts = (row.frames, row.not_scored, notes, row.anomalous, row.auc)
        lines.append(VideoLine(series, *counts, alarms[row.name], spans[row.name]))
    return lines


def videos(evaluation: Evaluation) -> Block | None:
    """A row for each video; columns that nothing fills are left out."""
    lines = video_lines(evaluation)
    if not lines:
        return None
    has_alarms, is_labeled = evaluation.alarms is not None, evaluation.labeled
    columns: dict[str, Sequence[str | Cell]] = {
        "length": [NONE if line.length_s is None else clock_text(line.length_s) for line in lines],
        "frames": [f"{line.frames:,}" for line in lines],
        "not scored": [f"{line.not_scored:,}" for line in lines],
        "anomalous frames": [_anomalous(line) for line in lines] if is_labeled else [],
        "AUC": [metric(line.auc) for line in lines] if is_labeled else [],
        "spans detected": [_detected(line) for line in lines] if is_labeled and has_alarms else [],
        "false alarms": [
            NONE if line.anomalous is None else f"{line.false_alarms:,}" for line in lines if is_labeled and has_alarms
        ],
        "alarms": [f"{len(line.alarms):,}" for line in lines if has_alarms and not is_labeled],
        "highest score": [score(line.highest) for line in lines],
        "notes": ["; ".join(line.notes) for line in lines] if any(line.notes for line in lines) else [],
    }
    filled = {title: cells for title, cells in columns.items() if cells}
    table = Table(
        columns=[Column("video", "path"), *(Column(title, "notes" if title == "notes" else "num") for title in filled)],
        rows=[
            [line.name, *(cells[number] for cells in filled.values())]
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
    scored = line.frames - line.not_scored
    if line.anomalous is None:
        return Cell(note="no labels")
    share = line.anomalous / scored if scored else None
    return Cell(text=f"{line.anomalous:,}", note="" if share is None else percent(share), bar=share, color="anomalous")


def _detected(line: VideoLine) -> str:
    return f"{line.scored_spans - line.missed:,} of {line.scored_spans:,}" if line.scored_spans else NONE


def _delay(span: Span) -> str | Cell:
    if span.delay_s is not None:
        return duration(span.delay_s)
    return Cell(badge="missed", is_alert=True) if span.is_scored else Cell(note="not scored")
