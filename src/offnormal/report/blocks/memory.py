"""Which items of a detector's memory normal and anomalous samples used: one plot, the items in order of normal use."""

from __future__ import annotations

import numpy as np

from offnormal.drawing.figure import COLOURS, new_axes, to_svg
from offnormal.evaluation.evaluate import Evaluation
from offnormal.metrics.memory_use import MemoryShares
from offnormal.report.block import Block, Legend, Plot, Text

_SIZE = (760, 260)  # pixels


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
    order = np.argsort(-used[0][1], kind="stable")
    figure, axes = new_axes(*_SIZE, x="items, the most used by normals first", y="share of what is recalled")
    for name, values in used:
        heights = np.append(values[order], values[order][-1])
        axes.step(np.arange(len(heights)), heights, where="post", color=COLOURS[name], linewidth=1.2)
    last = max(int(np.flatnonzero(values[order] > 0).max(initial=0)) for _, values in used)
    axes.set_xlim(0, max(1, last + 1))
    axes.set_ylim(bottom=0)
    legend = Legend([(name, name, "") for name, _ in used])
    plot = Plot(svg=to_svg(figure, "Use of the memory's items"))
    return Block(name="memory", title="Items of the memory", elements=[Text(text=_summary(shares)), legend, plot])


def _summary(shares: MemoryShares) -> str:
    total = len(shares.normal)
    if not shares.normal.any() or not shares.anomalous.any():
        kind, values = ("Normal", shares.normal) if shares.normal.any() else ("Anomalous", shares.anomalous)
        return f"{kind} samples recall {shares.used(values)} of {total} items; there are none of the other label."
    return (
        f"Normal samples recall {shares.used(shares.normal)} of {total} items, anomalous ones "
        f"{shares.used(shares.anomalous)}; {shares.overlap:.0%} of what both recall is the same."
    )
