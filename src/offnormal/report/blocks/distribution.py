"""How scores spread: a histogram, and a box plot for each group on the same axis."""

from __future__ import annotations

import numpy as np

from offnormal.drawing import plots
from offnormal.drawing.score_rows import box
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.units import TRAITS
from offnormal.report.block import Block, Cell, Column, Element, Legend, Plot, Table, Text
from offnormal.report.blocks.classes import SPLIT_TITLES
from offnormal.report.blocks.scores import COLORS, axis_text, by_label, calibration_scores, score_axis
from offnormal.report.wording import percent, score

WIDE, NARROW = 1060, 380  # pixels of a plot on a screen and on a phone
BOX_NOTE = (
    "Box: the middle half of the scores, its thick line the median; whiskers reach to the furthest score within 1.5 "
    "boxes; a short stroke for each score."
)


def distribution(evaluation: Evaluation) -> Block | None:
    """Scores by label, and those of the calibration; None where nothing was scored."""
    groups = {COLORS[name]: scores for name, scores in by_label(evaluation).items()}
    if not any(scores.size for scores in groups.values()):
        return None
    axis, outline, threshold = score_axis(evaluation), calibration_scores(evaluation), evaluation.threshold
    wide, narrow = (
        plots.histogram(groups, outline, threshold=threshold, axis=axis, width=width) for width in (WIDE, NARROW)
    )
    keys = [(name, color, "") for name, color in COLORS.items() if groups[color].size]
    keys += [("normals of the calibration", "normal", "dashed")] * bool(outline.size)
    keys += [(f"{axis_text(axis)}: the scores differ widely", "", "")] * bool(axis_text(axis))
    elements: list[Element] = [Legend(keys), Plot(svg=wide, narrow=narrow), _groups(evaluation)]
    line = "" if threshold is None else " The tall line is the threshold."
    elements.append(Text(text=BOX_NOTE + line, tone="quiet"))
    return Block(name="scores", title="Scores", elements=elements, style="card whole")


def _groups(evaluation: Evaluation) -> Table:
    """A row for each split, or else for each label; the normals of the calibration first."""
    axis, threshold, table = score_axis(evaluation), evaluation.threshold, evaluation.table
    splits = np.array(table.item_column(lambda item: item.split), dtype=str)
    groups: list[tuple[str, np.ndarray, str]] = []
    if evaluation.splits:
        for split, title in SPLIT_TITLES.items():
            color = "anomalous" if split == "anomalous" else "normal"
            name = title if split == "anomalous" else f"normal, {title}"
            groups.append((name, table.score[table.scored & np.isfinite(table.label) & (splits == split)], color))
    else:
        groups.append(("normals of the calibration", calibration_scores(evaluation), "normal"))
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
        drawn = Cell(svg=box(scores, axis, threshold=threshold, colour=color))
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
