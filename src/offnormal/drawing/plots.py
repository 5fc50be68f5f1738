"""Plots of a report as inline SVG: score histogram, threshold sweep, ROC, and precision-recall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.drawing.axis import ScoreAxis, axis_for
from offnormal.drawing.figure import COLORS, annotate, new_axes, to_svg
from offnormal.errors import rounded, score_text
from offnormal.metrics.decision import OracleThreshold, ThresholdSweep
from offnormal.metrics.image import precision_recall_curve, roc_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 300  # per curve: more than a plot of this size can display
_STEPS = 800  # maximum number of steps of a sweep
_SQUARE = (350, 300)  # width and height of a square plot in pixels
_FILL_OPACITY = 0.28  # opacity of a filled area


def histogram(
    groups: Mapping[str, np.ndarray],
    outline: np.ndarray,
    *,
    threshold: float | None,
    axis: ScoreAxis | None = None,
    width: int = 1060,
) -> str:
    """Plot the histogram of each group's scores, in percent of the group, and the threshold.

    groups: scores (R,) by color name ("normal", "anomalous", "unknown"); empty groups are skipped. outline: scores
    of the calibration set, drawn as a line; may be empty. width: pixels.
    """
    from matplotlib.ticker import MaxNLocator

    axis = axis or axis_for([*groups.values(), outline], threshold)
    figure, axes = new_axes(width, 300 if width > 600 else 260, x="score", y="% of each group")
    edges = axis.edges(_bin_count(groups, max_bins=60 if width > 600 else 32))
    for name, scores in groups.items():
        if np.size(scores):
            shares = _percentages(scores, edges)
            axes.stairs(shares, edges, fill=True, color=COLORS[name], alpha=_FILL_OPACITY, linewidth=0)
            axes.stairs(shares, edges, color=COLORS[name], linewidth=1.4)
    if np.size(outline):
        axes.stairs(_percentages(outline, edges), edges, color=COLORS["normal"], linewidth=1.4, linestyle=(0, (3, 2)))
    _set_score_scale(axes, axis)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    _draw_threshold(axes, threshold, axis)
    return to_svg(figure, "Histogram of the scores")


def roc(labels: ArrayLike, scores: ArrayLike, *, at: tuple[float, float] | None, kinds: tuple[str, str]) -> str:
    """Plot the ROC curve in percent. at: false-alarm rate and recall, 0-1, at the calibrated threshold.

    labels, scores: (R,) each, of both classes; DataError as in `metrics.image`. kinds: nouns of the two classes.
    """
    x, y, _ = roc_curve(labels, scores, points=_POINTS)
    figure, axes = new_axes(*_SQUARE, x=f"false alarms per 100 {kinds[0]}", y=f"detected per 100 {kinds[1]}")
    axes.plot((0, 100), (0, 100), color=COLORS["muted"], linewidth=0.8, linestyle=(0, (2, 3)))
    _draw_curve(axes, 100 * x, 100 * y, at, left_of_point=False)
    return to_svg(figure, "ROC curve")


def precision_recall(
    labels: ArrayLike, scores: ArrayLike, *, at: tuple[float, float] | None, kinds: tuple[str, str]
) -> str:
    """Plot precision over recall in percent. at: recall and precision, 0-1, at the calibrated threshold."""
    recall, precision, _ = precision_recall_curve(labels, scores, points=_POINTS)
    figure, axes = new_axes(*_SQUARE, x=f"detected per 100 {kinds[1]}", y=f"{kinds[1]} per 100 above the threshold")
    chance = 100 * float(np.mean(np.asarray(labels, dtype=np.float64)))
    axes.axhline(chance, color=COLORS["muted"], linewidth=0.8, linestyle=(0, (2, 3)))
    _draw_curve(axes, 100 * recall, 100 * precision, at, left_of_point=True)
    return to_svg(figure, "Precision over recall")


def sweep(
    rates: ThresholdSweep,
    oracle: OracleThreshold | None,
    *,
    threshold: float | None,
    axis: ScoreAxis,
    width: int = 1060,
) -> str:
    """Plot the percentages passed and detected over the threshold, as step functions.

    oracle: marked, if any. threshold: the calibrated one, if any. width: pixels.
    """
    figure, axes = new_axes(width, 340 if width > 600 else 280, x="threshold", y="per 100")
    rows = np.unique(np.linspace(0, rates.thresholds.size - 1, min(rates.thresholds.size, _STEPS)).round().astype(int))
    edges = [axis.low, *rates.thresholds[rows].clip(axis.low, axis.high).tolist(), axis.high]
    for name, shares in (("normal", rates.passed[rows]), ("anomalous", rates.detected[rows])):
        heights = [100 * shares[0], *(100 * shares).tolist()]
        axes.stairs(heights, edges, baseline=None, color=COLORS[name], linewidth=1.8)
    _set_score_scale(axes, axis)
    _set_percent_scale(axes, "y")
    if oracle is not None:
        axes.axvline(oracle.threshold, color=COLORS["muted"], linewidth=1.2, linestyle=(0, (4, 3)))
        is_right_half = float(axis.position(np.array([oracle.threshold]))[0]) > 0.6
        side = "right" if is_right_half else "left"
        annotate(axes, oracle.threshold, 3, f"oracle threshold {score_text(oracle.threshold)}", color="muted", ha=side)
    _draw_threshold(axes, threshold, axis)
    return to_svg(figure, "Passed and detected over the threshold")


def _draw_curve(
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    at: tuple[float, float] | None,
    *,
    left_of_point: bool,
) -> None:
    axes.fill_between(x, y, color=COLORS["normal"], alpha=0.08, linewidth=0)
    axes.plot(x, y, color=COLORS["normal"], linewidth=1.8, clip_on=False)
    _set_percent_scale(axes, "x")
    _set_percent_scale(axes, "y")
    axes.spines["bottom"].set_visible(False)
    if at is not None:
        point = 100 * at[0], 100 * at[1]
        axes.plot(*point, "o", color=COLORS["anomalous"], markersize=7, clip_on=False, zorder=5)
        ha = "right" if point[0] > (40 if left_of_point else 60) else "left"
        annotate(axes, *point, "at the threshold", color="anomalous", ha=ha, va="top")


def _set_percent_scale(axes: Axes, axis_name: str) -> None:
    """Set the range of an axis ("x" or "y") to 0-100."""
    axes.set(**{f"{axis_name}lim": (0, 100), f"{axis_name}ticks": (0, 25, 50, 75, 100)})


def _set_score_scale(axes: Axes, axis: ScoreAxis) -> None:
    """Scale the x axis for scores."""
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    if axis.kind == "linear":
        axes.set_xscale("linear")
    else:
        axes.set_xscale(axis.kind, **({"linear_width": axis.bend} if axis.kind == "asinh" else {}))
        axes.set_xticks(axis.ticks(max_ticks=10 if axes.bbox.width > 600 else 6))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(axis.low, axis.high)
    axes.xaxis.grid(visible=False, which="both")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: rounded(value, 4)))


def _draw_threshold(axes: Axes, threshold: float | None, axis: ScoreAxis) -> None:
    """Draw and label the threshold, if any, on an x axis of scores."""
    if threshold is None:
        return
    axes.axvline(threshold, color=COLORS["ink"], linewidth=1.2)
    top = axes.get_ylim()[1]
    is_right_half = float(axis.position(np.array([threshold]))[0]) > 0.6
    side = "right" if is_right_half else "left"
    annotate(axes, threshold, top, f"threshold {score_text(threshold)}", color="ink", ha=side)


def _bin_count(groups: Mapping[str, np.ndarray], max_bins: int) -> int:
    """Return the number of bins that the smallest group can fill without gaps."""
    smallest = min((np.size(scores) for scores in groups.values() if np.size(scores)), default=max_bins)
    return int(np.clip(6 * np.sqrt(smallest), min(32, max_bins), max_bins))


def _percentages(scores: np.ndarray, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    finite = np.asarray(scores, dtype=np.float64)
    finite = finite[np.isfinite(finite)].clip(edges[0], edges[-1])
    return np.histogram(finite, edges)[0] * (100 / max(finite.size, 1))
