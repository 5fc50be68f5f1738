"""The page of a comparison: tables, ROC curves, and scores over time."""

from __future__ import annotations

import numpy as np

from offnormal.drawing.axis import axis_for, strip
from offnormal.drawing.wording import NONE, clock_text, metric
from offnormal.errors import counted
from offnormal.evaluation.compare import ComparedRun, Comparison
from offnormal.evaluation.units import TRAITS
from offnormal.metrics.video import FrameScores
from offnormal.report import compare_table
from offnormal.report.block import (
    Block,
    Cell,
    Column,
    Element,
    Fact,
    Facts,
    Heading,
    Lanes,
    Legend,
    Plot,
    Side,
    Table,
    Text,
)
from offnormal.report.compare_plots import Style, key, lane, rank_scores, roc_curves, styles
from offnormal.report.page import Page, render_page
from offnormal.types import ANOMALOUS, NORMAL

LANE_LIMIT = 40  # videos, in the order of the dataset
_BREAKDOWN = {  # item noun of the unit -> title and note
    "video": ("AUC of each video", "A dash: the frames have only one label, or none."),
    "image": ("AUC of each type of anomaly", "Each type against all normal images."),
    "clip": ("AUC of each anomalous class", "Each class against all normal clips."),
}


def render_comparison(comparison: Comparison) -> str:
    """The comparison as HTML."""
    drawn = styles(len(comparison.rows))
    facts = [Fact(name, why) for name, why in comparison.missing.items()]
    blocks = (
        _runs(comparison, drawn),
        _figures(comparison),
        _roc(comparison, drawn),
        _breakdown(comparison),
        _over_time(comparison, drawn),
        _strips(comparison),
        _options(comparison),
        Block(name="missing", title="Missing", elements=[Facts(facts)]) if facts else None,
    )
    return render_page(
        Page(
            kind="comparison",
            heading=comparison.data,
            lead=lead(comparison),
            warnings=comparison.notes,
            blocks=blocks,
            foot=f"Test data {comparison.fingerprint[:12]}. A higher score is more anomalous.",
        )
    )


def lead(comparison: Comparison) -> str:
    """One sentence: the best run by the first metric, if its lead is larger than noise."""
    if not comparison.metrics:
        return "No metric to compare by: the test data needs normal and anomalous labels."
    name = comparison.metrics[0]
    rows = sorted(comparison.rows, key=lambda row: -row.metrics[name])
    top, second = (row.letter if row.run is not None else row.name for row in rows[:2])
    if name in comparison.best:
        return f"{top} has the best {name}, {rows[0].metrics[name]:.4f}; its lead is larger than noise."
    return (
        f"{top} has the highest {name}, {rows[0].metrics[name]:.4f}, but the lead may be noise: {second} has "
        f"{rows[1].metrics[name]:.4f}."
    )


def _runs(comparison: Comparison, drawn: list[Style]) -> Block:
    rows: list[list[str | Cell]] = [
        [row.letter, Cell(svg=key(style)), row.name, _detector(comparison, row), compare_table.counts(comparison, row)]
        for row, style in zip(comparison.rows, drawn, strict=True)
    ]
    columns = [Column("", "text"), Column("", "text")]
    columns += [Column(title, "path") for title in ("run", "detector", "scored")]
    note = "Excluded: scored by this run, but not by all runs, and not used in any figure below."
    elements: list[Element] = [Table(columns=columns, rows=rows, style="lettered"), Text(text=note, tone="quiet")]
    return Block(name="runs", title="Runs", elements=elements)


def _figures(comparison: Comparison) -> Block:
    elements: list[Element] = []
    for group in compare_table.groups(comparison):
        rows = [
            [
                Cell(text=row.letter, note=_short(comparison, row)),
                *(column.cells[number] for column in group.columns),
            ]
            for number, row in enumerate(comparison.rows)
        ]
        columns = [Column("", "text"), *(Column(column.title, hint=column.hint) for column in group.columns)]
        elements += [
            Heading(group.title),
            Text(text=group.note, tone="quiet"),
            Table(columns=columns, rows=rows, style="figures-table"),
        ]
    elements += [Text(text=line, tone="quiet") for line in compare_table.explanations(comparison)]
    return Block(name="figures", title="Figures", elements=elements)


def _roc(comparison: Comparison, drawn: list[Style]) -> Block | None:
    if not comparison.metrics:
        return None
    name, plural = comparison.metrics[0], TRAITS[comparison.unit].noun[1]
    table = comparison.rows[0].table
    labeled = table.labeled
    labels = table.label[labeled] == ANOMALOUS
    scores = [row.table.score[labeled] for row in comparison.rows]
    wide, narrow = (roc_curves(labels, scores, unit=plural, width=width) for width in (560, 350))
    keys = Table(
        columns=[Column("", "text"), Column("", "text"), Column("", "path"), Column(name)],
        rows=[
            [row.letter, Cell(svg=key(style)), _short(comparison, row), metric(row.metrics.get(name))]
            for row, style in zip(comparison.rows, drawn, strict=True)
        ],
        style="lettered",
    )
    note = Text(text=f"All {plural} together, by raw score. Dotted line: chance.", tone="quiet")
    return Block(name="roc", title="ROC curves", elements=[Side([Plot(svg=wide, narrow=narrow)], [keys, note], "roc")])


def _breakdown(comparison: Comparison) -> Block | None:
    """AUC by video, or by class."""
    names = list(comparison.rows[0].breakdown)
    if not names:
        return None
    notes = {series.name: _counts(series) for series in _series(comparison, comparison.rows[0])}
    rows: list[list[str | Cell]] = []
    for name in names:
        values = [row.breakdown.get(name) for row in comparison.rows]
        labeled = sorted((value for value in values if value is not None), reverse=True)
        best = labeled[0] if len(labeled) > 1 and labeled[0] - labeled[1] > 5e-5 else None
        cells = [Cell(text=metric(value), is_best=value is not None and value == best) for value in values]
        rows.append([Cell(text=name, note=notes.get(name, "")), *cells])
    title, note = _BREAKDOWN[TRAITS[comparison.unit].item[0]]
    elements: list[Element] = [
        Table(
            columns=[Column("", "path"), *(Column(row.letter) for row in comparison.rows)],
            rows=rows,
            style="figures-table",
        ),
        Text(text=f"Bold: highest value of a row; the difference may be chance. {note}", tone="quiet"),
    ]
    return Block(name="breakdown", title=title, elements=elements)


def _over_time(comparison: Comparison, drawn: list[Style]) -> Block | None:
    """One lane per run, with ranks over all frames of all videos, so that a quiet video stays low."""
    all_series = [_series(comparison, row) for row in comparison.rows]
    if not all_series[0]:
        return None
    all_scores = [row.table.score[row.table.scored] for row in comparison.rows]
    levels = [
        None if row.threshold is None else float(np.mean(scores <= row.threshold))
        for row, scores in zip(comparison.rows, all_scores, strict=True)
    ]
    keys = (
        ("labeled anomalous", "anomalous", "shade"),
        ("the run's threshold", "ink", "dashed"),
        ("not scored by every run", "muted", "shade"),
    )
    note = (
        "Raw scores of different detectors cannot be compared, so lines show ranks: the bottom of a lane (0) is the "
        "lowest score over all frames of all videos, the top (1) the highest."
    )
    elements: list[Element] = [Legend(keys), Text(text=note, tone="quiet")]
    for number, first in enumerate(all_series[0][:LANE_LIMIT]):
        lanes = []
        for row, series, scores, style, level in zip(
            comparison.rows, all_series, all_scores, drawn, levels, strict=True
        ):
            title = f"{row.letter} {row.name} on {first.name}"
            svg = lane(series[number], rank_scores(series[number].scores, scores), style, level, title)
            lanes.append((row.letter, [svg]))
        elements += [Heading(first.name, _counts(first)), Lanes(lanes, _ends(first))]
    if (more := len(all_series[0]) - LANE_LIMIT) > 0:
        text = f"and {counted(more, 'more video', 'more videos')}; comparison.json lists the AUC of all videos."
        elements.append(Text(text=text, tone="quiet"))
    return Block(name="time", title="Over time", elements=elements)


def _strips(comparison: Comparison) -> Block | None:
    """The scores of each run as strokes on a separate axis; None for videos, which have lanes."""
    traits = TRAITS[comparison.unit]
    if traits.item != traits.noun or not comparison.rows[0].table.labeled.any():
        return None
    lanes = []
    for row in comparison.rows:
        table = row.table
        axis = axis_for([table.score[table.labeled]], row.threshold)
        lanes.append(
            (
                row.letter,
                [
                    strip(
                        table.score[table.labeled & (table.label == label)], axis, threshold=row.threshold, color=color
                    )
                    for label, color in ((NORMAL, "normal"), (ANOMALOUS, "anomalous"))
                ],
            )
        )
    keys = (("normal", "normal", ""), ("anomalous", "anomalous", ""), ("the run's threshold", "ink", "upright"))
    noun = traits.noun[0]
    note = f"One stroke per {noun}, from the lowest to the highest score of a run. Each run has a separate axis."
    elements: list[Element] = [Legend(keys), Text(text=note, tone="quiet"), Lanes(lanes)]
    return Block(name="scores", title="Scores", elements=elements)


def _options(comparison: Comparison) -> Block | None:
    if not comparison.options:
        return None
    letters = [row.letter for row in comparison.rows if row.run is not None]
    table = Table(
        columns=[Column("option", "text"), *(Column(letter, "path") for letter in letters)],
        rows=[[name, *(values.get(letter, NONE) for letter in letters)] for name, values in comparison.options.items()],
        style="options",
    )
    return Block(name="options", title="Different options", elements=[table])


def _detector(comparison: Comparison, row: ComparedRun) -> str:
    return compare_table.detector(row, comparison.options)


def _short(comparison: Comparison, row: ComparedRun) -> str:
    """The detector, or the name of the run if it is unknown."""
    detector = _detector(comparison, row)
    return row.name if detector == NONE else detector


def _series(comparison: Comparison, row: ComparedRun) -> list[FrameScores]:
    """The videos of a run; empty unless frames were scored."""
    traits = TRAITS[comparison.unit]
    if traits.item == traits.noun:
        return []
    return row.table.series(fps=None if row.run is None else row.run.assumed_fps)


def _counts(series: FrameScores) -> str:
    frames = counted(int(series.scored.sum()), "frame", "frames")
    if series.labels is None:
        return f"{frames}, no labels"
    return f"{frames}, {int(series.labels[series.scored].sum()):,} anomalous"


def _ends(series: FrameScores) -> tuple[str, str]:
    """The labels of the ends of a video's axis."""
    if not series.clock.has_clock:
        return "frame 0", f"frame {series.scores.size - 1:,}"
    return clock_text(float(series.clock.edges_s[0])), clock_text(float(series.clock.edges_s[-1]))
