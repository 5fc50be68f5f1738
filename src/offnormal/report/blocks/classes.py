"""Classes of a test set (types of anomaly, activities): how they score, and how many units of each there are."""

from __future__ import annotations

import numpy as np

from offnormal.drawing.axis import ScoreAxis
from offnormal.drawing.score_rows import box
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.table import TESTED
from offnormal.evaluation.units import TRAITS
from offnormal.metrics.decision import ClassRow, Share
from offnormal.report.block import Block, Cell, Column, Element, Table, Text
from offnormal.report.blocks.scores import score_axis
from offnormal.report.wording import NONE, hundred, metric, score

SPLIT_TITLES = {"train": "training", "calibration": "calibration", "test": "test", "anomalous": "anomalous"}
_SHOWN = 60


def classes(evaluation: Evaluation) -> Block | None:
    """A row for each class tested on; None where no class is anomalous, or nothing names the classes."""
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
        for row in tested[:_SHOWN]
    ]
    if evaluation.threshold is None:
        columns, rows = columns[:2] + columns[3:], [row[:2] + row[3:] for row in rows]
    note = f"AUROC: of an anomalous class against all normal {several} tested on."
    elements: list[Element] = [
        Table(columns=columns, rows=rows, more=max(len(tested) - _SHOWN, 0), style="wide-cells"),
        Text(text=note, tone="quiet"),
    ]
    return Block(name="classes", title="Classes", elements=elements)


def class_counts(evaluation: Evaluation) -> Block | None:
    """Units by class and split; None for datasets that are not divided."""
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
        Cell(svg=box(scores, axis, threshold=threshold, colour=color)),
    ]


def _correct(correct: Share | None, color: str) -> str | Cell:
    if correct is None or not correct.of:
        return NONE
    word = "detected" if color == "anomalous" else "passed"
    return Cell(
        text=f"{word} {correct.count:,}",
        note=f"{hundred(correct.per_100)} %",
        bar=correct.count / correct.of,
        color=color,
    )
