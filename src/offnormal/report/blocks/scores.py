"""The distribution of scores: overall, by group, and by class; and views of the score table for several blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offnormal.drawing import plots
from offnormal.drawing.axis import ScoreAxis, axis_for, box
from offnormal.drawing.wording import NONE, hundred, metric, percent, score
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.table import TESTED
from offnormal.evaluation.units import TRAITS
from offnormal.metrics.decision import ClassRow, Share
from offnormal.report.block import Block, Cell, Column, Element, Legend, Plot, Table, Text
from offnormal.types import ANOMALOUS, NORMAL

COLORS = {"normal": "normal", "anomalous": "anomalous", "without a label": "unknown"}


def labeled_scores(evaluation: Evaluation) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Labels (R,), True for anomalous, and scores (R,) of the units that metrics use."""
    table = evaluation.table
    return table.label[table.labeled] == ANOMALOUS, table.score[table.labeled]


def by_label(evaluation: Evaluation) -> dict[str, NDArray[np.float64]]:
    """Scores of the test units by label (keys of COLORS)."""
    table = evaluation.table
    rows = table.scored & table.tested
    is_known = {
        "normal": table.label == NORMAL,
        "anomalous": table.label == ANOMALOUS,
        "without a label": np.isnan(table.label),
    }
    return {name: table.score[rows & selected] for name, selected in is_known.items()}


def _calibration_scores(evaluation: Evaluation) -> NDArray[np.float64]:
    """Scores (n,) of the calibration set; empty without a calibration."""
    return np.array(() if evaluation.calibration is None else evaluation.calibration.scores, np.float64)


def score_axis(evaluation: Evaluation) -> ScoreAxis:
    """The common axis of all plots of a report."""
    return axis_for([evaluation.table.score, _calibration_scores(evaluation)], evaluation.threshold)


def axis_text(axis: ScoreAxis) -> str:
    """Name of an unusual axis; "" for a linear one."""
    return "" if axis.kind == "linear" else f"{'logarithmic' if axis.kind == 'log' else 'asinh'} axis"


WIDE, NARROW = 1060, 380  # pixels of a plot on a screen and on a phone
BOX_NOTE = (
    "Box: the middle half of the scores, with the median as a thick line. Whiskers: the furthest scores within 1.5 box "
    "lengths. Each short stroke is one score."
)


def distribution(evaluation: Evaluation) -> Block | None:
    """Scores by label, and those of the calibration set; None if nothing was scored."""
    groups = {COLORS[name]: scores for name, scores in by_label(evaluation).items()}
    if not any(scores.size for scores in groups.values()):
        return None
    axis, outline, threshold = score_axis(evaluation), _calibration_scores(evaluation), evaluation.threshold
    wide, narrow = (
        plots.histogram(groups, outline, threshold=threshold, axis=axis, width=width) for width in (WIDE, NARROW)
    )
    keys = [(name, color, "") for name, color in COLORS.items() if groups[color].size]
    keys += [("calibration set", "normal", "dashed")] * bool(outline.size)
    keys += [(f"{axis_text(axis)} because of the wide range of scores", "", "")] * bool(axis_text(axis))
    elements: list[Element] = [Legend(keys), Plot(svg=wide, narrow=narrow), _groups(evaluation)]
    line = "" if threshold is None else " The tall line is the threshold."
    elements.append(Text(text=BOX_NOTE + line, tone="quiet"))
    return Block(name="scores", title="Scores", elements=elements, style="card whole")


def _groups(evaluation: Evaluation) -> Table:
    """One row per split, or per label with the calibration set first."""
    axis, threshold, table = score_axis(evaluation), evaluation.threshold, evaluation.table
    splits = np.array(table.item_column(lambda item: item.split), dtype=str)
    groups: list[tuple[str, np.ndarray, str]] = []
    if evaluation.splits:
        for split, title in SPLIT_TITLES.items():
            color = "anomalous" if split == "anomalous" else "normal"
            name = title if split == "anomalous" else f"normal, {title}"
            groups.append((name, table.score[table.scored & np.isfinite(table.label) & (splits == split)], color))
    else:
        groups.append(("calibration set", _calibration_scores(evaluation), "normal"))
        groups += [(name, scores, COLORS[name]) for name, scores in by_label(evaluation).items()]
    rows = []
    for name, scores, color in groups:
        if not scores.size:
            continue
        above: str | Cell = Cell(text="")
        if threshold is not None:
            number = int((scores > threshold).sum())
            share = number / scores.size
            above = Cell(text=f"{number:,}", note=percent(share), bar=share, color=color)
        drawn = Cell(svg=box(scores, axis, threshold=threshold, color=color))
        rows.append([name, f"{scores.size:,}", above, score(float(np.median(scores))), drawn])
    columns = [
        Column("", "text"),
        Column(TRAITS[evaluation.unit].noun[1]),
        Column("above the threshold"),
        Column("median"),
        Column(f"scores from {score(axis.low)} to {score(axis.high)}", "wide"),
    ]
    if threshold is None:
        columns, rows = columns[:2] + columns[3:], [row[:2] + row[3:] for row in rows]
    return Table(columns=columns, rows=rows, style="wide-cells")


SPLIT_TITLES = {"train": "training", "calibration": "calibration", "test": "test", "anomalous": "anomalous"}
_CLASS_LIMIT = 60


def classes(evaluation: Evaluation) -> Block | None:
    """One row per class of the test set; None if no class is anomalous, or classes have no names."""
    tested = [row for row in evaluation.classes if _tested(row)]
    if not any(row.is_anomalous for row in tested):
        return None
    axis, several = score_axis(evaluation), TRAITS[evaluation.unit].noun[1]
    table = evaluation.table
    names = np.array(table.item_column(lambda item: item.class_name), dtype=str)
    columns = [
        Column("class", "text"),
        Column(several),
        Column("passed or detected"),
        Column("median"),
        Column("AUROC"),
        Column(f"scores from {score(axis.low)} to {score(axis.high)}", "wide"),
    ]
    rows = [
        _row(row, table.score[table.labeled & (names == row.name)], axis, evaluation.threshold)
        for row in tested[:_CLASS_LIMIT]
    ]
    if evaluation.threshold is None:
        columns, rows = columns[:2] + columns[3:], [row[:2] + row[3:] for row in rows]
    note = f"AUROC: an anomalous class against all normal {several} of the test set."
    elements: list[Element] = [
        Table(columns=columns, rows=rows, more=max(len(tested) - _CLASS_LIMIT, 0), style="wide-cells"),
        Text(text=note, tone="quiet"),
    ]
    return Block(name="classes", title="Classes", elements=elements)


def class_counts(evaluation: Evaluation) -> Block | None:
    """Units by class and split; None for datasets without splits."""
    splits = [split for split in SPLIT_TITLES if any(row.counts.get(split) for row in evaluation.classes)]
    if not splits:
        return None
    counts = [[row.counts.get(split, 0) for split in splits] for row in evaluation.classes]
    several = TRAITS[evaluation.unit].noun[1]
    elements: list[Element] = [
        Table(
            columns=[Column("class", "text"), *(Column(SPLIT_TITLES[split]) for split in splits)],
            rows=[
                [Cell(text=row.name, note="anomalous" * row.is_anomalous), *(f"{n:,}" if n else NONE for n in numbers)]
                for row, numbers in zip(evaluation.classes, counts, strict=True)
            ],
            foot=["all", *(f"{sum(column):,}" for column in zip(*counts, strict=True))],
        )
    ]
    groups = {item.group for item in evaluation.table.items if item.group}
    if 0 < len(groups) < len(evaluation.table.items):
        text = f"From {len(groups):,} {TRAITS[evaluation.unit].group}; all {several} of one are in the same split."
        elements.append(Text(text=text, tone="quiet"))
    return Block(name="counts", title=f"{several.capitalize()} by class and split", elements=elements)


def _tested(row: ClassRow) -> int:
    return sum(row.counts.get(split, 0) for split in TESTED)


def _row(row: ClassRow, scores: np.ndarray, axis: ScoreAxis, threshold: float | None) -> list[str | Cell]:
    color = "anomalous" if row.is_anomalous else "normal"
    return [
        row.name,
        f"{_tested(row):,}",
        _correct(row.correct, color),
        score(row.median),
        metric(row.auroc),
        Cell(svg=box(scores, axis, threshold=threshold, color=color)),
    ]


def _correct(correct: Share | None, color: str) -> str | Cell:
    if correct is None or not correct.total:
        return NONE
    word = "detected" if color == "anomalous" else "passed"
    return Cell(
        text=f"{word} {correct.count:,}",
        note=f"{hundred(correct.per_100)} %",
        bar=correct.count / correct.total,
        color=color,
    )
