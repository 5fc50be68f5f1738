"""Decisions at the calibrated threshold, and at all other thresholds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offnormal.drawing import plots
from offnormal.drawing.wording import hundred, metric, percent, score, share
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.units import TRAITS
from offnormal.metrics.decision import operating_point, threshold_sweep
from offnormal.report.block import Block, Cell, Column, Element, Legend, Matrix, Plot, Plots, Side, Table, Text
from offnormal.report.blocks.scores import NARROW, WIDE, labeled_scores, score_axis

TOP_LIMIT = 15


def decisions(evaluation: Evaluation) -> Block | None:
    """The confusion matrix; None without a threshold or labels, and for videos, which have alarms instead."""
    confusion, report = evaluation.confusion, evaluation.classification
    if confusion is None or report is None:
        return None
    rows, supports = [], []
    for name in ("normal", "anomalous"):
        supports.append(int(report[name]["support"]))
        values = (report[name][key] if supports[-1] else None for key in ("precision", "recall", "f1-score"))
        rows.append([name, *map(share, values), f"{supports[-1]:,}"])
    total = f"{sum(supports):,}"
    rows.append(["micro average (accuracy)", *[share(report["accuracy"])] * 3, total])
    for key, name in (("macro avg", "macro average"), ("weighted avg", "weighted average")):
        rows.append([name, *(share(report[key][column]) for column in ("precision", "recall", "f1-score")), total])
    columns = [Column("class", "text"), *map(Column, ("precision", "recall", "F1", "support"))]
    right: list[Element] = [Table(columns=columns, rows=rows, ruled=2)]
    if 0 in supports:
        units = TRAITS[evaluation.unit].noun[1]
        right.append(Text(text=f"A class without {units} counts as 0 in the macro average.", tone="quiet"))
    matrix = Matrix(confusion.passed, confusion.false_alarm, confusion.missed, confusion.detected)
    title = f"Decisions at the threshold {score(evaluation.threshold)}"
    return Block(name="decisions", title=title, elements=[Side([matrix], right)], style="card whole")


def thresholds(evaluation: Evaluation) -> Block | None:
    """The effect of every threshold; None unless there are units of both labels."""
    labels, scores = labeled_scores(evaluation)
    if not labels.any() or labels.all():
        return None
    units, threshold = TRAITS[evaluation.unit].noun[1], evaluation.threshold
    axis, sweep = score_axis(evaluation), evaluation.sweep or threshold_sweep(labels, scores)
    wide, narrow = (
        plots.sweep(sweep, evaluation.oracle, threshold=threshold, axis=axis, width=width) for width in (WIDE, NARROW)
    )
    keys = [
        (f"normal {units} passed, per 100", "normal", ""),
        (f"anomalous {units} detected, per 100", "anomalous", ""),
    ]
    elements: list[Element] = [Legend(keys), Plot(svg=wide, narrow=narrow)]
    if (oracle := evaluation.oracle) is not None:
        text = (
            f"{score(oracle.threshold)} would pass {percent(oracle.passed)} of the normal {units} and detect "
            f"{percent(oracle.detected)} of the anomalous {units}. It was chosen with the labels of the test set. It "
            "shows how well the scores separate; do not use it in production."
        )
        elements.append(Text(label="Oracle threshold.", text=text))
    elements.append(Plots(plots=_curves(evaluation, labels, scores), columns="two squares"))
    if evaluation.operating:
        elements += _operating(evaluation)
    title = "All thresholds" if threshold is None else "Other thresholds"
    return Block(name="thresholds", title=title, elements=elements)


def highest_scores(evaluation: Evaluation) -> Block | None:
    """The units with the highest scores; None with labels, and for videos, which have alarms."""
    table, units = evaluation.table, TRAITS[evaluation.unit].noun
    if evaluation.frames is not None or evaluation.labeled or not table.scored.any():
        return None
    names = table.item_column(lambda item: item.name)
    order = [row for row in np.argsort(-table.score, kind="stable") if table.scored[row]][:TOP_LIMIT]
    columns = [Column(units[0], "path"), Column("score")]
    rows = [[names[row], score(table.score[row])] for row in order]
    if evaluation.threshold is not None:
        columns += [Column("p-value"), Column("verdict", "text")]
        for cells, row in zip(rows, order, strict=True):
            is_anomalous = table.score[row] > evaluation.threshold
            cells += [f"{table.p_value[row]:.2g}", "anomalous" if is_anomalous else "normal"]
    return Block(name="highest", title="Highest scores", elements=[Table(columns=columns, rows=rows)])


def _curves(evaluation: Evaluation, labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> list[Plot]:
    """ROC and precision-recall curves with the point of the calibrated threshold."""
    names = list(TRAITS[evaluation.unit].metrics)
    area, precision_name = names[0], next(name for name in names if name.endswith("_AP"))
    at = point = None
    if evaluation.threshold is not None:
        above = scores > evaluation.threshold
        true, called = int((above & labels).sum()), int(above.sum())
        recall = true / int(labels.sum())
        at = (called - true) / int((~labels).sum()), recall
        point = (recall, true / called) if called else None
    units = TRAITS[evaluation.unit].noun[1]
    kinds = f"normal {units}", f"anomalous {units}"
    return [
        Plot(
            svg=plots.roc(labels, scores, at=at, kinds=kinds),
            title="ROC",
            about=f"area {metric(evaluation.metrics.get(area))}",
        ),
        Plot(
            svg=plots.precision_recall(labels, scores, at=point, kinds=kinds),
            title="Precision-recall",
            about=f"average precision {metric(evaluation.metrics.get(precision_name))}",
        ),
    ]


def _operating(evaluation: Evaluation) -> list[Element]:
    """The operating points and the calibrated threshold, sorted."""
    calibration, confusion = evaluation.calibration, evaluation.confusion
    points = list(evaluation.operating)
    chosen = None
    if calibration is not None and confusion is not None:
        calibrated = operating_point(calibration.threshold, confusion)
        points = [point for point in points if point.threshold != calibrated.threshold]
        points = sorted([*points, calibrated], key=lambda point: point.threshold)
        chosen = points.index(calibrated)
    badge = "by hand" if calibration is not None and calibration.by_hand else "calibrated"
    rows: list[list[str | Cell]] = [
        [
            Cell(text=score(point.threshold), badge=badge if number == chosen else ""),
            f"{point.false_alarms:,}",
            hundred(point.false_alarms_per_100_normal),
            f"{point.missed:,}",
            hundred(point.missed_per_100_anomalous),
            *map(share, (point.precision, point.recall, point.f1)),
        ]
        for number, point in enumerate(points)
    ]
    units = TRAITS[evaluation.unit].noun[1]
    titles = ("threshold", "count", "per 100 normal", "count", "per 100 anomalous", "precision", "recall", "F1")
    note = (
        f"{'These thresholds' if chosen is None else 'All except the marked row'} were chosen with the labels of the "
        f"test set: no guarantee for other {units}."
    )
    return [
        Table(
            columns=[Column(titles[0], "text"), *map(Column, titles[1:])],
            rows=rows,
            groups=[("", 1), ("false alarms", 2), ("missed", 2), ("", 3)],
            chosen=chosen,
            style="roomy",
        ),
        Text(text=note, tone="quiet"),
    ]
