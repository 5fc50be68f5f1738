"""Plots of a comparison: the ROC curves of all runs, and their scores over time in lanes.

Runs differ in color, line style, and letter, so that no reader depends on one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from offnormal.drawing.figure import COLORS, RUN_COLORS, new_axes, to_svg
from offnormal.drawing.timeline import envelope
from offnormal.metrics.clock import runs
from offnormal.metrics.image import roc_curve
from offnormal.metrics.video import FrameScores

_POINTS = 300  # of a curve
_LANE, _HEIGHT, _PAD = 1000, 100, 5  # SVG units of a lane, which is stretched to the available width
_COLUMNS = 500  # of a lane; each shows its lowest and highest frame

_DARK = ("#5cb3ee", "#f08a5a", "#43c79a", "#dd8fc4", "#d9b84a", "#9a9df5", "#f07a90", "#a6c765", "#c3cad6")
_DASHES = ("", "7 3", "2 2.2", "9 3 2 3", "13 4", "4 2 1.5 2 1.5 2", "1 3.5", "16 3 3 3", "6 6")
_MARKERS = "os^DvP*Xh"


@dataclass(frozen=True, slots=True)
class Style:
    """Color and line style of a run."""

    number: int  # of the page's color variable --run-N
    color: str
    dashes: str  # of SVG; "" for a solid line
    marker: str  # of matplotlib


def styles(count: int) -> list[Style]:
    """One style per run; beyond nine, colors and line styles repeat in other combinations.

    >>> len({(style.color, style.dashes) for style in styles(12)})
    12
    """
    size = len(RUN_COLORS)
    return [
        Style(i % size + 1, RUN_COLORS[i % size], _DASHES[(i + i // size) % size], _MARKERS[(i + i // size) % size])
        for i in range(count)
    ]


def palette() -> list[tuple[int, str, str]]:
    """Numbers of the color variables --run-N, with their colors on light and on dark pages."""
    return list(zip(range(1, len(RUN_COLORS) + 1), RUN_COLORS, _DARK, strict=True))


def roc_curves(labels: np.ndarray, scores: Sequence[np.ndarray], *, unit: str, width: int) -> str:
    """ROC curves of several runs, in percent.

    labels: (R,) of both classes; scores: (R,) of each run; unit: noun in the plural; width: pixels.
    """
    figure, axes = new_axes(
        width, round(0.8 * width), x=f"false alarms per 100 normal {unit}", y=f"detected per 100 anomalous {unit}"
    )
    axes.plot((0, 100), (0, 100), color=COLORS["muted"], linewidth=0.8, linestyle=(0, (2, 3)))
    for index, (values, style) in enumerate(zip(scores, styles(len(scores)), strict=True)):
        x, y = (100 * rates for rates in roc_curve(labels, values, points=_POINTS)[:2])
        dashes = [float(part) / 1.8 for part in style.dashes.split()]  # matplotlib's unit is the line width
        axes.plot(x, y, color=style.color, linewidth=1.8, linestyle=(0, dashes) if dashes else "-", clip_on=False)
        at = _marker_positions(x, y, index, len(scores))
        axes.plot(*at, style.marker, color=style.color, markersize=6, linestyle="none", clip_on=False, zorder=5)
    for axis in ("x", "y"):
        axes.set(**{f"{axis}lim": (0, 100), f"{axis}ticks": (0, 25, 50, 75, 100)})
    axes.spines["bottom"].set_visible(False)
    return to_svg(figure, "ROC curves of the runs")


def key(style: Style) -> str:
    """An <svg> of the run's line and marker, for legends."""
    run = f"var(--run-{style.number})"
    return (
        '<svg class="key" viewBox="0 0 40 12" aria-hidden="true">'
        f'<path style="stroke: {run}" stroke-dasharray="{style.dashes}" d="M0 6H40"/>'
        f'<g style="fill: {run}">{_SHAPES[style.marker]}</g></svg>'
    )


def lane(video: FrameScores, ranks: NDArray[np.float64], style: Style, level: float | None, name: str) -> str:
    """An <svg> of one run's ranks (T,) in 0-1 over time, NaN where not scored; labeled spans are shaded.

    level: rank of the run's threshold. name: for screen readers.
    """
    edges = video.clock.edges_s if video.clock.has_clock else np.arange(ranks.size + 1, dtype=np.float64)
    along = _LANE * (edges - edges[0]) / (edges[-1] - edges[0])
    drawn = [_boxes("span", runs(video.labels), along)] if video.labels is not None else []
    drawn.append(_boxes("gap", runs(~np.isfinite(ranks)), along))
    if level is not None:
        drawn.append(f'<path class="level" d="M0 {_HEIGHT * (1 - level):.0f}H{_LANE}"/>')
    x, y = envelope((along[:-1] + along[1:]) / (2 * _LANE), ranks, _COLUMNS)
    drawn.append(f'<path class="line" style="stroke: var(--run-{style.number})" d="{_line(x, y)}"/>')
    return (
        f'<svg class="lane" role="img" aria-label="{escape(name)}" viewBox="0 {-_PAD} {_LANE} {_HEIGHT + 2 * _PAD}" '
        f'preserveAspectRatio="none">{"".join(drawn)}</svg>'
    )


def rank_scores(scores: NDArray[np.float64], all_scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share (0-1) of `all_scores` (n,) below each of `scores` (T,); ties count half, NaN stays.

    >>> rank_scores(np.array([1.0, 5.0, np.nan]), np.array([1.0, 2.0])).tolist()
    [0.25, 1.0, nan]
    """
    ordered = np.sort(all_scores)
    below, through = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return np.asarray(np.where(np.isfinite(scores), (below + through) / (2 * max(ordered.size, 1)), np.nan))


def _marker_positions(
    x: NDArray[np.float64], y: NDArray[np.float64], index: int, total: int
) -> tuple[list[float], list[float]]:
    """Marker positions along a curve, shifted for each run so that markers do not cover each other."""
    length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    at = length[-1] * (np.arange(4) + (index + 0.5) / total) / 4
    return np.interp(at, length, x).tolist(), np.interp(at, length, y).tolist()


def _boxes(kind: str, stretches: Sequence[tuple[int, int]], along: NDArray[np.float64]) -> str:
    parts = "".join(
        f"M{along[start]:.1f} {-_PAD}H{max(along[stop], along[start] + 1):.1f}V{_HEIGHT + _PAD}H{along[start]:.1f}z"
        for start, stop in stretches
    )
    return f'<path class="{kind}" d="{parts}"/>' if parts else ""


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """A path through the points, interrupted at gaps; a single point is a short stroke."""
    text, pen = [], "M"
    is_finite = np.isfinite(y)
    for index, (left_x, height) in enumerate(zip(x * _LANE, (1 - y) * _HEIGHT, strict=True)):
        if not is_finite[index]:
            pen = "M"
            continue
        text.append(f"{pen}{left_x:.0f} {height:.0f}")
        if pen == "M" and (index + 1 == is_finite.size or not is_finite[index + 1]):
            text.append("h1")
        pen = " "  # more points of the same line
    return "".join(text)


_SHAPES = {
    "o": '<circle cx="20" cy="6" r="3.4"/>',
    "s": '<path d="M16.8 2.8h6.4v6.4h-6.4z"/>',
    "^": '<path d="M20 2l4 7.4h-8z"/>',
    "D": '<path d="M20 1.6l4.4 4.4-4.4 4.4-4.4-4.4z"/>',
    "v": '<path d="M20 10l4-7.4h-8z"/>',
    "P": '<path d="M18.4 2h3.2v2.4H24v3.2h-2.4V10h-3.2V7.6H16V4.4h2.4z"/>',
    "*": '<path d="M20 1l1.3 3.4 3.7.2-2.9 2.3 1 3.6L20 8.5l-3.1 2 1-3.6L15 4.6l3.7-.2z"/>',
    "X": '<path d="M16.3 4l2-2L20 3.700l1.700-1.700 2 2L22 6l1.700 2-2 2L20 8.300l-1.700 1.700-2-2L18 6z"/>',
    "h": '<path d="M20 1.800l3.700 2.100v4.200L20 10.200l-3.700-2.100V3.900z"/>',
}
