"""One video's score over time as inline SVG: labeled spans, the threshold, alarms, and what was not scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from offnormal.drawing.axis import ScoreAxis, axis_for
from offnormal.drawing.figure import COLORS, annotate_point, new_axes, to_svg
from offnormal.drawing.wording import clock_text
from offnormal.metrics.clock import runs
from offnormal.metrics.video import FrameScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 190  # pixels
_MARGINS = (58, 62)  # pixels beside the plot area and above and below it, both sides together
_COLUMN = 1.2  # pixels: of the frames in one such column the lowest and the highest are drawn
_JOINED = 2.0  # pixels: stretches nearer than that are drawn as one, and none narrower
_LANE = (1.03, 1.075)  # where alarms are drawn, in heights of the plot area: above it
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)

Points = NDArray[np.float64]


def timeline(
    video: FrameScores,
    *,
    threshold: float | None,
    alarms: Sequence[tuple[int, int]] | None = None,
    axis: ScoreAxis | None = None,
    width: int = 1060,
) -> str:
    """The score of each frame over time, in m:ss, or over frame numbers where the video has no clock.

    Of frames closer than the line is wide the lowest and the highest are drawn, so no peak is lost. Labeled spans
    are shaded, frames without a score hatched, and alarms are bars above the plot. alarms: (start, stop) frames each,
    start <= i < stop; None: every run above the threshold. axis: of
    the scores, one for all videos that are to be compared; width: pixels.
    """
    axis = axis or axis_for([video.scores], threshold)
    if alarms is None:
        alarms = runs(video.scores > threshold) if threshold is not None else []
    clock = video.clock.has_clock
    edges = video.clock.edges_s if clock else np.arange(video.scores.size + 1, dtype=np.float64)
    figure, axes = new_axes(width, _HEIGHT, x="time" if clock else "frame", y="score")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1)
    pixels, high = width - _MARGINS[0], _HEIGHT - _MARGINS[1]
    if video.labels is not None:
        _areas(axes, _stretches(runs(video.labels), edges, pixels), "anomalous", alpha=0.16)
    _areas(axes, _stretches(runs(~video.scored), edges, pixels), "muted", hatched=True)
    _areas(axes, _stretches(alarms, edges, pixels), "anomalous", lane=_LANE)
    place = (np.asarray((edges[:-1] + edges[1:]) / 2) - edges[0]) / (edges[-1] - edges[0])
    x, y = envelope(place, axis.position(video.scores), round(pixels / _COLUMN))
    x, y = np.round(x * pixels, 1) / pixels, np.round(y * high, 1) / high  # what is shorter to write down
    marker = "o" if y.size == 1 else ""
    axes.plot(
        x,
        y,
        marker=marker,
        color=COLORS["normal"],
        linewidth=1.1,
        solid_joinstyle="round",
        clip_on=False,
        transform=axes.transAxes,
    )
    _score_ticks(axes, axis)
    _time_ticks(axes, edges, clock=clock, most=width // 90)
    if threshold is not None:
        level = float(axis.position(np.array([threshold]))[0])
        axes.axhline(level, color=COLORS["ink"], linewidth=1, linestyle=(0, (5, 3)))
        va = "bottom" if level < 0.85 else "top"  # above it the words would run into the alarms
        annotate_point(axes, float(edges[0]), level, f"threshold {threshold:.4g}", color="ink", va=va)
    return to_svg(figure, f"Score over time of {video.name}")


def envelope(x: Points, y: Points, columns: int) -> tuple[Points, Points]:
    """A line x, y (T,) thinned to the lowest and highest point of each of so many columns between x = 0 and x = 1.

    x rises. Where y is NaN a point is left out, and the line is broken by one NaN where a column has no other.
    Returns (P,) each, P at most twice `columns`.
    """
    column = np.clip((x * columns).astype(np.int64), 0, columns - 1)
    first = np.flatnonzero(np.append(True, np.diff(column) > 0))
    known = np.isfinite(y)
    some = np.logical_or.reduceat(known, first)
    lowest = _extreme(np.where(known, y, np.inf), first)
    highest = _extreme(np.where(known, -y, np.inf), first)
    pairs = np.sort(np.column_stack([lowest, highest]), axis=1)  # in the order in which they come
    once = pairs[:, 0] == pairs[:, 1]
    kept = np.column_stack([some | np.append(True, some[:-1]), some & ~once])  # of empty columns in a row the first
    return x[pairs][kept], np.where(some[:, None], y[pairs], np.nan)[kept]


def _extreme(values: Points, first: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where the smallest of each group of values lies; groups begin at `first`."""
    sizes = np.diff(np.append(first, values.size))
    group = np.repeat(np.arange(first.size), sizes)
    order = np.lexsort((np.arange(values.size), values, group))
    return order[first]


def _stretches(frames: Sequence[tuple[int, int]], edges: Points, pixels: int) -> Points:
    """Stretches of frames as (S, 2) ends on the axis, those joined that no eye could part, and none too thin to see."""
    if not frames:
        return np.zeros((0, 2))
    ends = edges[np.array(frames)]
    pixel = (edges[-1] - edges[0]) / pixels
    apart = ends[1:, 0] - ends[:-1, 1] > _JOINED * pixel
    joined = np.column_stack([ends[np.append(True, apart), 0], ends[np.append(apart, True), 1]])
    missing = np.maximum(_JOINED * pixel - (joined[:, 1] - joined[:, 0]), 0) / 2
    joined = (joined + np.column_stack([-missing, missing])).clip(edges[0], edges[-1])
    return np.asarray(edges[0] + np.round((joined - edges[0]) / pixel, 1) * pixel)


def _areas(
    axes: Axes,
    ends: Points,
    color: str,
    *,
    alpha: float = 1.0,
    hatched: bool = False,
    lane: tuple[float, float] = (0.0, 1.0),
) -> None:
    """Fill stretches (S, 2) of the axis from bottom to top of a lane: one path, so that many of them stay small."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if not len(ends):
        return
    left, right = ends.T
    low, high = np.full(left.size, lane[0]), np.full(left.size, lane[1])
    corners = [(left, low), (left, high), (right, high), (right, low), (left, low)]
    points = np.stack([np.column_stack(corner) for corner in corners], axis=1).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], left.size)
    drawn = PathPatch(Path(points, codes), linewidth=0, clip_on=False)
    if hatched:
        drawn.set(facecolor="none", edgecolor=COLORS[color], hatch="////", alpha=0.6)
    else:
        drawn.set(facecolor=COLORS[color], alpha=alpha)
    axes.add_patch(drawn)


def _score_ticks(axes: Axes, axis: ScoreAxis) -> None:
    from matplotlib.ticker import MaxNLocator

    ticks = np.array(axis.ticks(most=4) if axis.kind != "linear" else MaxNLocator(4).tick_values(axis.low, axis.high))
    ticks = ticks[(ticks >= axis.low) & (ticks <= axis.high)]
    axes.set_yticks(axis.position(ticks), [f"{tick:.4g}" for tick in ticks])


def _time_ticks(axes: Axes, edges: Points, *, clock: bool, most: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.grid(visible=False)
    start, end = float(edges[0]), float(edges[-1])
    if not clock:
        axes.xaxis.set_major_locator(MaxNLocator(most, integer=True))
        return
    step = next((step for step in _STEPS_S if (end - start) / step <= most), _STEPS_S[-1])
    ticks = np.arange(np.ceil(start / step), np.floor(end / step) + 1) * step
    axes.set_xticks(ticks, [clock_text(float(tick)) for tick in ticks])
    if ticks.size and end - ticks[-1] < 0.02 * (end - start):  # at the edge, where half of it would be cut off
        axes.get_xticklabels()[-1].set_horizontalalignment("right")
