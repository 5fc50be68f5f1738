"""The page of a comparison: tables, ROC curves, and what every run scores over time."""

from __future__ import annotations

import numpy as np

from offnormal.drawing.axis import axis_for, strip
from offnormal.drawing.wording import NONE, clock_text, counted, metric
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
from offnormal.report.compare_plots import Style, key, lane, ranks_of, roc_curves, styles
from offnormal.report.page import Page, render_page
from offnormal.types import ANOMALOUS, NORMAL

LANES_SHOWN = 40  # videos, in the order of the dataset
_BREAKDOWN = {  # item noun of the unit -> title and note
    "video": ("AUC of each video", "A dash: the video has frames of one label only, or no labels."),
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
        Block(name="missing", title="Not known", elements=[Facts(facts)]) if facts else None,
    )
    return render_page(
        Page(
            kind="comparison",
            heading=comparison.data,
            lead=lead(comparison),
            blocks=blocks,
            foot=f"Test data {comparison.fingerprint[:12]}. A higher score is more anomalous.",
        )
    )


def lead(comparison: Comparison) -> str:
    """One sentence: which run is best by the first metric, or that none is beyond noise."""
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


def _runs(comparison: Comparison, drawn: list[Style]) -> Block:
    rows: list[list[str | Cell]] = [
        [row.letter, Cell(svg=key(style)), row.name, _detector(comparison, row), compare_table.counts(comparison, row)]
        for row, style in zip(comparison.rows, drawn, strict=True)
    ]
    columns = [Column("", "text"), Column("", "text")]
    columns += [Column(title, "path") for title in ("run", "detector", "what it scored")]
    note = "Excluded: scored by this run, but not by every other; no figure below is based on it."
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
    elements += [Text(text=line, tone="quiet") for line in compare_table.reading(comparison)]
    return Block(name="figures", title="Figures", elements=elements)


def _roc(comparison: Comparison, drawn: list[Style]) -> Block | None:
    if not comparison.metrics:
        return None
    name, several = comparison.metrics[0], TRAITS[comparison.unit].noun[1]
    table = comparison.rows[0].table
    known = table.labeled
    labels = table.label[known] == ANOMALOUS
    scores = [row.table.score[known] for row in comparison.rows]
    wide, narrow = (roc_curves(labels, scores, unit=several, width=width) for width in (560, 350))
    keys = Table(
        columns=[Column("", "text"), Column("", "text"), Column("", "path"), Column(name)],
        rows=[
            [row.letter, Cell(svg=key(style)), _short(comparison, row), metric(row.metrics.get(name))]
            for row, style in zip(comparison.rows, drawn, strict=True)
        ],
        style="lettered",
    )
    note = Text(text=f"Over all {several} together, by raw score. Dotted: chance.", tone="quiet")
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
        known = sorted((value for value in values if value is not None), reverse=True)
        best = known[0] if len(known) > 1 and known[0] - known[1] > 5e-5 else None
        cells = [Cell(text=metric(value), is_best=value is not None and value == best) for value in values]
        rows.append([Cell(text=name, note=notes.get(name, "")), *cells])
    title, note = _BREAKDOWN[TRAITS[comparison.unit].item[0]]
    elements: list[Element] = [
        Table(
            columns=[Column("", "path"), *(Column(row.letter) for row in comparison.rows)],
            rows=rows,
            style="figures-table",
        ),
        Text(text=f"Bold: the highest of a row, which may be chance. {note}", tone="quiet"),
    ]
    return Block(name="breakdown", title=title, elements=elements)


def _over_time(comparison: Comparison, drawn: list[Style]) -> Block | None:
    """A lane for each run; ranks are among all frames of all videos, so that a quiet video stays low."""
    every = [_series(comparison, row) for row in comparison.rows]
    if not every[0]:
        return None
    among = [row.table.score[row.table.scored] for row in comparison.rows]
    levels = [
        None if row.threshold is None else float(np.mean(scores <= row.threshold))
        for row, scores in zip(comparison.rows, among, strict=True)
    ]
    keys = (
        ("labeled anomalous", "anomalous", "shade"),
        ("the run's threshold", "ink", "dashed"),
        ("not scored by every run", "muted", "shade"),
    )
    note = (
        "Raw scores of two detectors cannot be compared, so each line is a rank: 0 at the bottom of a lane is the "
        "lowest score of all frames of all videos, 1 at the top the highest."
    )
    elements: list[Element] = [Legend(keys), Text(text=note, tone="quiet")]
    for number, first in enumerate(every[0][:LANES_SHOWN]):
        lanes = []
        for row, series, scores, style, level in zip(comparison.rows, every, among, drawn, levels, strict=True):
            title = f"{row.letter} {row.name} on {first.name}"
            svg = lane(series[number], ranks_of(series[number].scores, scores), style, level, title)
            lanes.append((row.letter, [svg]))
        elements += [Heading(first.name, _counts(first)), Lanes(lanes, _ends(first))]
    if (more := len(every[0]) - LANES_SHOWN) > 0:
        text = f"and {counted(more, 'more video', 'more videos')}; comparison.json has the AUC of every one."
        elements.append(Text(text=text, tone="quiet"))
    return Block(name="time", title="Over time", elements=elements)


def _strips(comparison: Comparison) -> Block | None:
    """The scores of each run as strokes, on an axis of its own; None for videos, which have lanes."""
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
    note = f"A stroke for each {noun}, from the lowest to the highest score of a run; every run has its own axis."
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
    return Block(name="options", title="Options that differ", elements=[table])


def _detector(comparison: Comparison, row: ComparedRun) -> str:
    return compare_table.detector(row, comparison.options)


def _short(comparison: Comparison, row: ComparedRun) -> str:
    """The detector, or the run's name where it is not known."""
    detector = _detector(comparison, row)
    return row.name if detector == NONE else detector


def _series(comparison: Comparison, row: ComparedRun) -> list[FrameScores]:
    """The videos of a run; none unless frames were scored."""
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
    """Both ends of a video's axis."""
    if not series.clock.has_clock:
        return "frame 0", f"frame {series.scores.size - 1:,}"
    return clock_text(float(series.clock.edges_s[0])), clock_text(float(series.clock.edges_s[-1]))
