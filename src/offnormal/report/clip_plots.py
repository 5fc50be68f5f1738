"""What every threshold keeps of normal clips and catches of anomalous ones, as inline SVG."""

from __future__ import annotations

import numpy as np

from offnormal.metrics.clips import Hindsight, Trade
from offnormal.report.axis import ScoreAxis
from offnormal.report.figure import COLOURS, new_axes, note, to_svg
from offnormal.report.plots import percent_scale, score_scale, threshold_line


def kept_and_caught(
    found: Trade, best: Hindsight, *, threshold: float | None, axis: ScoreAxis, width: int = 1060
) -> str:
    """Both shares in per cent over the threshold: steps, as each score changes one of them.

    best: marked as what it is; threshold: the calibrated one, None without one. width: pixels.
    """
    figure, axes = new_axes(width, 340 if width > 600 else 280, x="threshold", y="per 100")
    edges = [axis.low, *found.thresholds.clip(axis.low, axis.high).tolist(), axis.high]
    for name, shares in (("normal", found.kept), ("anomalous", found.caught)):
        heights = [100 * shares[0], *(100 * shares).tolist()]
        axes.stairs(heights, edges, baseline=None, color=COLOURS[name], linewidth=1.8)
    score_scale(axes, axis)
    percent_scale(axes, "y")
    axes.axvline(best.threshold, color=COLOURS["muted"], linewidth=1.2, linestyle=(0, (4, 3)))
    right_half = float(axis.position(np.array([best.threshold]))[0]) > 0.6
    side = "right" if right_half else "left"
    note(axes, best.threshold, 3, f"best by hindsight {best.threshold:.4g}", colour="muted", ha=side)
    threshold_line(axes, threshold, axis)
    return to_svg(figure, "Clips kept and caught over the threshold")
