"""The page of a comparison: one HTML file with tables, ROC curves and what every run says over time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from offnormal.comparison import Comparison, Contender
from offnormal.report import compare_table
from offnormal.report.axis import axis_for
from offnormal.report.compare_plots import Style, key, lane, palette, ranks_of, roc_curves, styles
from offnormal.report.page import environment, printable
from offnormal.report.strip import strip
from offnormal.report.timeline import clock_text
from offnormal.report.wording import counted
from offnormal.types import ANOMALOUS, NORMAL

LANES_SHOWN = 40  # videos; the order is that of the data set


@dataclass(frozen=True, slots=True)
class Head:
    """A run as every table names it."""

    letter: str
    name: str
    detector: str
    counts: str
    key: str  # <svg>
    auc: float | None


@dataclass(frozen=True, slots=True)
class Part:
    """How the runs fare on one video, or on one kind of defect."""

    name: str
    note: str
    values: list[float | None]
    best: int | None  # place of the highest; None: two are the same, or there are none


@dataclass(frozen=True, slots=True)
class Lanes:
    """One video with a lane for each run."""

    name: str
    note: str
    start: str
    end: str
    lanes: list[str]  # <svg>


@dataclass(frozen=True, slots=True)
class Strips:
    """The scores of one run's pictures or clips."""

    normal: str  # <svg>
    anomalous: str


def render_comparison(comparison: Comparison) -> str:
    """The comparison as HTML."""
    rows, chosen = comparison.rows, styles(len(comparison.rows))
    columns = comparison.metrics
    headline = columns[0] if columns else None
    known = comparison.common.labelled
    unit = compare_table.UNITS[comparison.kind][1]
    curves = ""
    if columns:
        curves = roc_curves(comparison.common.labels[known], [row.scores[known] for row in rows], unit=unit)
    heads = [
        Head(
            letter=row.letter,
            name=row.name,
            detector=compare_table.detector(row, comparison.options),
            counts=compare_table.counts(comparison, row),
            key=key(style),
            auc=row.metrics.get(headline) if headline else None,
        )
        for row, style in zip(rows, chosen, strict=True)
    ]
    lanes = _lanes(comparison, chosen)
    page = environment().get_template("compare.html.j2")
    return printable(
        page.render(
            comparison=comparison,
            heads=heads,
            unit=unit,
            headline=headline,
            lead=_lead(comparison),
            tables=compare_table.groups(comparison),
            reading=compare_table.reading(comparison),
            curves=curves,
            parts=_parts(comparison),
            lanes=lanes[:LANES_SHOWN],
            more_lanes=len(lanes) - LANES_SHOWN,
            strips=[_strips(comparison, row) for row in rows] if comparison.kind != "videos" else [],
            options=list(comparison.options.items()),
            palette=palette(),
            written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        )
    )


def _lead(comparison: Comparison) -> str:
    """One sentence: which run is best by the headline metric, or that none is beyond noise."""
    if not comparison.metrics:
        return "Without labels of both kinds there is no metric to compare by."
    name = comparison.metrics[0]
    rows = sorted(comparison.rows, key=lambda row: -row.metrics[name])
    top, second = (row.letter if row.run is not None else row.name for row in rows[:2])
    if name in comparison.best:
        return f"{top} has the best {name}, {rows[0].metrics[name]:.4f}, better than every other beyond noise."
    return (
        f"{top} has the highest {name}, {rows[0].metrics[name]:.4f}, but not beyond noise: "
        f"{second} has {rows[1].metrics[name]:.4f}."
    )


def _parts(comparison: Comparison) -> list[Part]:
    """AUC by video or by kind of defect, where any run has one."""
    found = []
    lengths = {video.name: video for video in comparison.rows[0].series}
    for name in comparison.rows[0].breakdown:
        values = [row.breakdown.get(name) for row in comparison.rows]
        known = sorted((value for value in values if value is not None), reverse=True)
        best = None
        if len(known) > 1 and known[0] - known[1] > 5e-5:
            best = values.index(known[0])
        note = ""
        if name in lengths:
            note = _video_note(lengths[name].scored, lengths[name].labels)
        found.append(Part(name, note, values, best))
    return found


def _video_note(scored: np.ndarray, labels: np.ndarray | None) -> str:
    frames = counted(int(scored.sum()), "frame", "frames")
    if labels is None:
        return f"{frames}, no labels"
    return f"{frames}, {int(labels[scored].sum()):,} anomalous"


def _lanes(comparison: Comparison, chosen: list[Style]) -> list[Lanes]:
    """Every video's lanes; ranks are among all frames of all videos, so that a quiet video stays low."""
    among = [row.scores[comparison.common.scored] for row in comparison.rows]
    levels = [
        None if row.threshold is None else float(np.mean(own <= row.threshold))
        for row, own in zip(comparison.rows, among, strict=True)
    ]
    found = []
    for place, video in enumerate(comparison.rows[0].series):
        drawn = [
            lane(
                video, ranks_of(row.series[place].scores, own), style, level, f"{row.letter} {row.name} on {video.name}"
            )
            for row, own, style, level in zip(comparison.rows, among, chosen, levels, strict=True)
        ]
        note = _video_note(video.scored, video.labels)
        if video.times_s is None:
            ends = "frame 0", f"frame {video.scores.size - 1:,}"
        else:
            edges = video.clock.edges_s
            ends = clock_text(float(edges[0])), clock_text(float(edges[-1]))
        found.append(Lanes(video.name, note, *ends, drawn))
    return found


def _strips(comparison: Comparison, row: Contender) -> Strips:
    kept = comparison.common.labelled
    axis = axis_for([row.scores[kept]], row.threshold)
    drawn = [
        strip(row.scores[kept & (comparison.common.labels == label)], axis, threshold=row.threshold, colour=colour)
        for label, colour in ((NORMAL, "normal"), (ANOMALOUS, "anomalous"))
    ]
    return Strips(*drawn)
