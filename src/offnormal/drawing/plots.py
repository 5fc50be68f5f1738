"""The plots of a report as inline SVG: how scores lie, what any threshold would do, ROC and precision-recall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.drawing.axis import ScoreAxis, axis_for
from offnormal.drawing.figure import COLORS, annotate_point, new_axes, to_svg
from offnormal.metrics.decision import OracleThreshold, ThresholdSweep
from offnormal.metrics.image import precision_recall_curve, roc_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 300  # of a curve: more than a plot of this size can show
_STEPS = 800  # of a sweep
_SMALL = (350, 300)  # width and height of a square plot in pixels
_FILLED = 0.28  # opacity of a filled area


def histogram(
    groups: Mapping[str, np.ndarray],
    outline: np.ndarray,
    *,
    threshold: float | None,
    axis: ScoreAxis | None = None,
    width: int = 1060,
) -> str:
    """How the scores of each group spread, as shares of its own number, and where the threshold lies.

    groups: scores (R,) by color name ("normal", "anomalous", "unknown"); empty ones are left out. outline: scores
    of the normals that it was calibrated on, drawn as a line; may be empty. width: pixels.
    """
    from matplotlib.ticker import MaxNLocator

    axis = axis or axis_for([*groups.values(), outline], threshold)
    figure, axes = new_axes(width, 300 if width > 600 else 260, x="score", y="% of each group")
    edges = axis.edges(_bins(groups, most=60 if width > 600 else 32))
    for name, scores in groups.items():
        if np.size(scores):
            shares = _shares(scores, edges)
            axes.stairs(shares, edges, fill=True, color=COLORS[name], alpha=_FILLED, linewidth=0)
            axes.stairs(shares, edges, color=COLORS[name], linewidth=1.4)
    if np.size(outline):
        axes.stairs(_shares(outline, edges), edges, color=COLORS["normal"], linewidth=1.4, linestyle=(0, (3, 2)))
    _score_scale(axes, axis)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    _threshold_line(axes, threshold, axis)
    return to_svg(figure, "Histogram of the scores")


def roc(labels: ArrayLike, scores: ArrayLike, *, at: tuple[float, float] | None, kinds: tuple[str, str]) -> str:
    """The ROC curve in per cent; `at`: false-alarm rate and recall, 0-1, of the calibrated threshold.

    labels, scores: (R,) each, of both classes; DataError as in `metrics.image`. kinds: what the two are called.
    """
    x, y, _ = roc_curve(labels, scores, points=_POINTS)
    figure, axes = new_axes(*_SMALL, x=f"false alarms per 100 {kinds[0]}", y=f"detected per 100 {kinds[1]}")
    axes.plot((0, 100), (0, 100), color=COLORS["muted"], linewidth=0.8, linestyle=(0, (2, 3)))
    _curve(axes, 100 * x, 100 * y, at, left_of_point=False)
    return to_svg(figure, "ROC curve")


def precision_recall(
    labels: ArrayLike, scores: ArrayLike, *, at: tuple[float, float] | None, kinds: tuple[str, str]
) -> str:
    """Precision over recall in per cent; `at`: recall and precision, 0-1, of the calibrated threshold."""
    recall, precision, _ = precision_recall_curve(labels, scores, points=_POINTS)
    figure, axes = new_axes(*_SMALL, x=f"detected per 100 {kinds[1]}", y=f"{kinds[1]} per 100 called anomalous")
    chance = 100 * float(np.mean(np.asarray(labels, dtype=np.float64)))
    axes.axhline(chance, color=COLORS["muted"], linewidth=0.8, linestyle=(0, (2, 3)))
    _curve(axes, 100 * recall, 100 * precision, at, left_of_point=True)
    return to_svg(figure, "Precision over recall")


def sweep(
    found: ThresholdSweep,
    oracle: OracleThreshold | None,
    *,
    threshold: float | None,
    axis: ScoreAxis,
    width: int = 1060,
) -> str:
    """Shares passed and detected in percent over the threshold: steps, as each score changes one of them.

    oracle: marked as what it is; threshold: the calibrated one, None without one. width: pixels.
    """
    figure, axes = new_axes(width, 340 if width > 600 else 280, x="threshold", y="per 100")
    rows = np.unique(np.linspace(0, found.thresholds.size - 1, min(found.thresholds.size, _STEPS)).round().astype(int))
    edges = [axis.low, *found.thresholds[rows].clip(axis.low, axis.high).tolist(), axis.high]
    for name, shares in (("normal", found.passed[rows]), ("anomalous", found.detected[rows])):
        heights = [100 * shares[0], *(100 * shares).tolist()]
        axes.stairs(heights, edges, baseline=None, color=COLORS[name], linewidth=1.8)
    _score_scale(axes, axis)
    _percent_scale(axes, "y")
    if oracle is not None:
        axes.axvline(oracle.threshold, color=COLORS["muted"], linewidth=1.2, linestyle=(0, (4, 3)))
        right_half = float(axis.position(np.array([oracle.threshold]))[0]) > 0.6
        side = "right" if right_half else "left"
        annotate_point(axes, oracle.threshold, 3, f"oracle threshold {oracle.threshold:.4g}", color="muted", ha=side)
    _threshold_line(axes, threshold, axis)
    return to_svg(figure, "Passed and detected over the threshold")


def _curve(
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    at: tuple[float, float] | None,
    *,
    left_of_point: bool,
) -> None:
    axes.fill_between(x, y, color=COLORS["normal"], alpha=0.08, linewidth=0)
    axes.plot(x, y, color=COLORS["normal"], linewidth=1.8, clip_on=False)
    _percent_scale(axes, "x")
    _percent_scale(axes, "y")
    axes.spines["bottom"].set_visible(False)
    if at is not None:
        place = 100 * at[0], 100 * at[1]
        axes.plot(*place, "o", color=COLORS["anomalous"], markersize=7, clip_on=False, zorder=5)
        ha = "right" if place[0] > (40 if left_of_point else 60) else "left"
        annotate_point(axes, *place, "at the threshold", color="anomalous", ha=ha, va="top")


def _percent_scale(axes: Axes, which: str) -> None:
    """Let one axis ("x" or "y") go from 0 to 100."""
    axes.set(**{f"{which}lim": (0, 100), f"{which}ticks": (0, 25, 50, 75, 100)})


def _score_scale(axes: Axes, axis: ScoreAxis) -> None:
    """Let the x axis be one of scores."""
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    if axis.kind == "linear":
        axes.set_xscale("linear")
    else:
        axes.set_xscale(axis.kind, **({"linear_width": axis.bend} if axis.kind == "asinh" else {}))
        axes.set_xticks(axis.ticks(most=10 if axes.bbox.width > 600 else 6))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(axis.low, axis.high)
    axes.xaxis.grid(visible=False, which="both")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))


def _threshold_line(axes: Axes, threshold: float | None, axis: ScoreAxis) -> None:
    """Draw and name the threshold on an x axis of scores; nothing without one."""
    if threshold is None:
        return
    axes.axvline(threshold, color=COLORS["ink"], linewidth=1.2)
    top = axes.get_ylim()[1]
    right_half = float(axis.position(np.array([threshold]))[0]) > 0.6
    annotate_point(
        axes, threshold, top, f"threshold {threshold:.4g}", color="ink", ha="right" if right_half else "left"
    )


def _bins(groups: Mapping[str, np.ndarray], most: int) -> int:
    """Number of bins that the smallest group can fill without falling apart into single strokes."""
    smallest = min((np.size(scores) for scores in groups.values() if np.size(scores)), default=most)
    return int(np.clip(6 * np.sqrt(smallest), min(32, most), most))


def _shares(scores: np.ndarray, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    finite = np.asarray(scores, dtype=np.float64)
    finite = finite[np.isfinite(finite)].clip(edges[0], edges[-1])
    return np.histogram(finite, edges)[0] * (100 / max(finite.size, 1))
