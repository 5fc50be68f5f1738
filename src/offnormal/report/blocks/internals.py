"""What a detector makes of units inside: which items of its memory it uses, and where it puts them in its space."""

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
    """Use of the memory; None for detectors without one."""
    shares = evaluation.memory
    if shares is None:
        return None
    used = [
        (name, values) for name, values in (("normal", shares.normal), ("anomalous", shares.anomalous)) if values.any()
    ]
    if not used:
        return None
    wide, narrow = (_use(used, width) for width in (WIDE, NARROW))
    legend = Legend([(name, name, "") for name, _ in used])
    elements: list[Element] = [Text(text=_summary(shares)), legend, Plot(svg=wide, narrow=narrow)]
    return Block(name="memory", title="Items of the memory", elements=elements)


def _use(used: Sequence[tuple[str, np.ndarray]], width: int) -> str:
    """Shares (M,) of the items by label, as an <svg>; `width` in pixels."""
    order = np.argsort(-used[0][1], kind="stable")
    figure, axes = new_axes(width, 260, x="items, the most used by normals first", y="% of what is recalled")
    for name, values in used:
        heights = 100 * np.append(values[order], values[order][-1])
        axes.step(np.arange(len(heights)), heights, where="post", color=COLORS[name], linewidth=1.2)
    last = max(int(np.flatnonzero(values[order] > 0).max(initial=0)) for _, values in used)
    axes.set_xlim(0, max(1, last + 1))
    axes.set_ylim(bottom=0)
    return to_svg(figure, "Use of the memory's items")


def _summary(shares: MemoryShares) -> str:
    total = len(shares.normal)
    if not shares.normal.any() or not shares.anomalous.any():
        kind, values = ("Normal", shares.normal) if shares.normal.any() else ("Anomalous", shares.anomalous)
        return f"{kind} samples recall {shares.used(values)} of {total} items; there are none of the other label."
    return (
        f"Normal samples recall {shares.used(shares.normal)} of {total} items, anomalous ones "
        f"{shares.used(shares.anomalous)}; {shares.overlap:.0%} of what both recall is the same."
    )


def plane(evaluation: Evaluation) -> Block | None:
    """None where the detector gives no vectors, or there are too few units."""
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
        places = None if values is None else project(np.asarray(values)[rows])
        if places is not None:
            svg = scatter(places, classes, tested, keys, f"t-SNE of the {title.lower()}")
            plots.append(Plot(svg=svg, title=title, style="plane"))
    if not plots:
        return None
    note = (
        f"t-SNE: {several} close to each other are alike; distances between clusters and their sizes mean nothing. "
        f"Crosses: anomalous classes.{'' if tested.all() else f' Faint: {several} of training and calibration.'}"
    )
    legend = [(key.action, f"run-{key.number}", "cross" if key.marker == "X" else "circle") for key in keys]
    elements: list[Element] = [Legend(legend), Plots(plots=plots, columns="two"), Text(text=note, tone="quiet")]
    return Block(name="plane", title=f"{several.capitalize()} as the detector sees them", elements=elements)
