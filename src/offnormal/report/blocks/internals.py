"""A detector's internals: the use of its memory items, and a map of its embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from offnormal.drawing.figure import COLORS, new_axes, to_svg
from offnormal.drawing.scatter import class_keys, project, scatter, spread_evenly
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.units import TRAITS
from offnormal.metrics.memory_use import MemoryShares
from offnormal.report.block import Block, Element, Legend, Plot, Plots, Text
from offnormal.report.blocks.scores import NARROW, WIDE
from offnormal.types import ANOMALOUS


def memory(evaluation: Evaluation) -> Block | None:
    """The use of memory items; None for detectors without a memory."""
    shares = evaluation.memory
    if shares is None:
        return None
    groups = [
        (name, values) for name, values in (("normal", shares.normal), ("anomalous", shares.anomalous)) if values.any()
    ]
    if not groups:
        return None
    wide, narrow = (_use_plot(groups, width) for width in (WIDE, NARROW))
    legend = Legend([(name, name, "") for name, _ in groups])
    elements: list[Element] = [Text(text=_summary(shares)), legend, Plot(svg=wide, narrow=narrow)]
    return Block(name="memory", title="Memory items", elements=elements)


def _use_plot(groups: Sequence[tuple[str, np.ndarray]], width: int) -> str:
    """Shares (M,) of the items by label, as an <svg>; `width` in pixels."""
    order = np.argsort(-groups[0][1], kind="stable")
    figure, axes = new_axes(width, 260, x="memory items, sorted by use for normal samples", y="% of all reads")
    for name, values in groups:
        heights = 100 * np.append(values[order], values[order][-1])
        axes.step(np.arange(len(heights)), heights, where="post", color=COLORS[name], linewidth=1.2)
    last = max(int(np.flatnonzero(values[order] > 0).max(initial=0)) for _, values in groups)
    axes.set_xlim(0, max(1, last + 1))
    axes.set_ylim(bottom=0)
    return to_svg(figure, "Use of memory items")


def _summary(shares: MemoryShares) -> str:
    total = len(shares.normal)
    if not shares.normal.any() or not shares.anomalous.any():
        kind, values = ("Normal", shares.normal) if shares.normal.any() else ("Anomalous", shares.anomalous)
        return f"{kind} samples use {shares.used(values)} of {total} memory items; no sample has the other label."
    return (
        f"Normal samples use {shares.used(shares.normal)} of {total} memory items, anomalous ones "
        f"{shares.used(shares.anomalous)}; their use overlaps by {100 * shares.overlap:.0f} %."
    )


def plane(evaluation: Evaluation) -> Block | None:
    """A t-SNE plot; None if the detector has no vectors, or there are too few units."""
    vectors = {"Embeddings": evaluation.embeddings, "Latents": evaluation.latents}
    if all(values is None for values in vectors.values()):
        return None
    table, several = evaluation.table, TRAITS[evaluation.unit].noun[1]
    rows = spread_evenly(len(table))
    is_anomalous = table.label[rows] == ANOMALOUS
    names = table.item_column(lambda item: item.class_name)
    classes = [names[row] or ("anomalous" if flag else "normal") for row, flag in zip(rows, is_anomalous, strict=True)]
    keys = class_keys(classes, [name for name, flag in zip(classes, is_anomalous, strict=True) if flag])
    tested = table.tested[rows]
    plots = []
    for title, values in vectors.items():
        points = None if values is None else project(np.asarray(values)[rows])
        if points is not None:
            svg = scatter(points, classes, tested, keys, f"t-SNE of the {title.lower()}")
            plots.append(Plot(svg=svg, title=title, style="plane"))
    if not plots:
        return None
    note = (
        f"t-SNE: nearby {several} are similar; the distances between clusters and their sizes have no meaning. "
        f"Crosses: anomalous classes.{'' if tested.all() else f' Faint: {several} of training and calibration.'}"
    )
    legend = [(key.action, f"run-{key.number}", "cross" if key.marker == "X" else "circle") for key in keys]
    elements: list[Element] = [Legend(legend), Plots(plots=plots, columns="two"), Text(text=note, tone="quiet")]
    return Block(name="plane", title=f"Embeddings of {several}", elements=elements)
