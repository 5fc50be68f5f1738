"""Which items of a detector's memory normal and anomalous samples used: one plot, the items in order of normal use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from offnormal.drawing.figure import COLOURS, new_axes, to_svg
from offnormal.metrics.item_use import ItemShares

_SIZE = (760, 260)  # pixels


@dataclass(frozen=True, slots=True)
class ItemPlot:
    """The plot with what it says in a sentence, and the names of its colours."""

    svg: str
    said: str
    shown: list[tuple[str, str]]  # name, colour


def item_plot(found: ItemShares | None) -> ItemPlot | None:
    """The plot; None for detectors without a memory."""
    if found is None:
        return None
    order = np.argsort(-(found.normal if found.normal.any() else found.anomalous), kind="stable")
    figure, axes = new_axes(*_SIZE, x="items, the most used by normals first", y="share of what is recalled")
    shown = []
    for name, shares in (("normal", found.normal), ("anomalous", found.anomalous)):
        if not shares.any():
            continue
        shown.append((name, name))
        heights = np.append(shares[order], shares[order][-1])
        axes.step(np.arange(len(heights)), heights, where="post", color=COLOURS[name], linewidth=1.2)
    last = max(int(np.flatnonzero(shares[order] > 0).max(initial=0)) for shares in (found.normal, found.anomalous))
    axes.set_xlim(0, max(1, last + 1))
    axes.set_ylim(bottom=0)
    return ItemPlot(to_svg(figure, "Use of the memory's items"), _said(found), shown)


def _said(found: ItemShares) -> str:
    total = len(found.normal)
    if not found.normal.any() or not found.anomalous.any():
        kind, shares = ("normal", found.normal) if found.normal.any() else ("anomalous", found.anomalous)
        used = f"{kind.capitalize()} samples recall {found.used(shares)} of {total} items"
        return f"{used}; there are none of the other kind"
    return (
        f"Normal samples recall {found.used(found.normal)} of {total} items, anomalous ones "
        f"{found.used(found.anomalous)}; {found.overlap:.0%} of what both recall is the same"
    )
