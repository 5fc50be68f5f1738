"""The score of a video over time as inline SVG, with labeled spans, threshold, alarms, and unscored frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from offnormal.drawing.axis import ScoreAxis, axis_for
from offnormal.drawing.figure import COLORS, annotate, new_axes, to_svg
from offnormal.drawing.wording import clock_text
from offnormal.errors import rounded, score_text
from offnormal.metrics.clock import runs
from offnormal.metrics.video import FrameScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 190  # pixels
_MARGINS = (58, 62)  # pixels left plus right of the plot area, and above plus below it
_COLUMN = 1.2  # pixels; in each such column the lowest and the highest frame are drawn
_MIN_GAP = 2.0  # pixels; closer runs are merged, narrower ones widened
_ALARM_LANE = (1.03, 1.075)  # vertical range of the alarm bars, in plot heights: above the plot
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
    """Plot the score of each frame over time in m:ss, or over frame numbers if the video has no clock.

    Of frames in one pixel column the lowest and the highest are drawn, so no peak is lost. Labeled spans are shaded,
    unscored frames are hatched, and alarms are bars above the plot. alarms: (start, stop) frames, start <= i < stop;
    None: every run above the threshold. axis: of the scores, shared by videos to compare. width: pixels.
    """
    axis = axis or axis_for([video.scores], threshold)
    if alarms is None:
        alarms = runs(video.scores > threshold) if threshold is not None else []
    has_clock = video.clock.has_clock
    edges = video.clock.edges_s if has_clock else np.arange(video.scores.size + 1, dtype=np.float64)
    figure, axes = new_axes(width, _HEIGHT, x="time" if has_clock else "frame", y="score")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1)
    plot_width, plot_height = width - _MARGINS[0], _HEIGHT - _MARGINS[1]
    if video.labels is not None:
        _fill_areas(axes, _merge_runs(runs(video.labels), edges, plot_width), "anomalous", alpha=0.16)
    _fill_areas(axes, _merge_runs(runs(~video.scored), edges, plot_width), "muted", is_hatched=True)
    _fill_areas(axes, _merge_runs(alarms, edges, plot_width), "anomalous", lane=_ALARM_LANE)
    x_position = (np.asarray((edges[:-1] + edges[1:]) / 2) - edges[0]) / (edges[-1] - edges[0])
    x, y = envelope(x_position, axis.position(video.scores), round(plot_width / _COLUMN))
    x, y = np.round(x * plot_width, 1) / plot_width, np.round(y * plot_height, 1) / plot_height  # shortens the SVG
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
    _time_ticks(axes, edges, has_clock=has_clock, max_ticks=width // 90)
    if threshold is not None:
        level = float(axis.position(np.array([threshold]))[0])
        axes.axhline(level, color=COLORS["ink"], linewidth=1, linestyle=(0, (5, 3)))
        va = "bottom" if level < 0.85 else "top"  # higher, the text would overlap the alarms
        annotate(axes, float(edges[0]), level, f"threshold {score_text(threshold)}", color="ink", va=va)
    return to_svg(figure, f"Score over time of {video.name}")


def envelope(x: Points, y: Points, columns: int) -> tuple[Points, Points]:
    """Reduce a line x, y (T,) to the lowest and highest point of each of `columns` columns between x = 0 and 1.

    x rises. NaN in y is skipped; a column of only NaN breaks the line with one NaN.
    Returns (P,) each, P at most twice `columns`.
    """
    column = np.clip((x * columns).astype(np.int64), 0, columns - 1)
    first = np.flatnonzero(np.append(True, np.diff(column) > 0))
    is_scored = np.isfinite(y)
    has_score = np.logical_or.reduceat(is_scored, first)
    lowest = _first_minimum(np.where(is_scored, y, np.inf), first)
    highest = _first_minimum(np.where(is_scored, -y, np.inf), first)
    pairs = np.sort(np.column_stack([lowest, highest]), axis=1)  # in their original order
    is_single = pairs[:, 0] == pairs[:, 1]
    # of consecutive empty columns, keep the first
    keep_mask = np.column_stack([has_score | np.append(True, has_score[:-1]), has_score & ~is_single])
    return x[pairs][keep_mask], np.where(has_score[:, None], y[pairs], np.nan)[keep_mask]


def _first_minimum(values: Points, first: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the index of the first minimum of each group of values; groups start at `first`."""
    sizes = np.diff(np.append(first, values.size))
    group = np.repeat(np.arange(first.size), sizes)
    order = np.lexsort((np.arange(values.size), values, group))
    return order[first]


def _merge_runs(frames: Sequence[tuple[int, int]], edges: Points, plot_width: int) -> Points:
    """Convert runs of frames to (S, 2) ends on the axis; merge runs that are too close, widen thin ones."""
    if not frames:
        return np.zeros((0, 2))
    ends = edges[np.array(frames)]
    pixel = (edges[-1] - edges[0]) / plot_width
    is_separate = ends[1:, 0] - ends[:-1, 1] > _MIN_GAP * pixel
    joined = np.column_stack([ends[np.append(True, is_separate), 0], ends[np.append(is_separate, True), 1]])
    widening = np.maximum(_MIN_GAP * pixel - (joined[:, 1] - joined[:, 0]), 0) / 2
    joined = (joined + np.column_stack([-widening, widening])).clip(edges[0], edges[-1])
    return np.asarray(edges[0] + np.round((joined - edges[0]) / pixel, 1) * pixel)


def _fill_areas(
    axes: Axes,
    ends: Points,
    color: str,
    *,
    alpha: float = 1.0,
    is_hatched: bool = False,
    lane: tuple[float, float] = (0.0, 1.0),
) -> None:
    """Fill runs (S, 2) of the axis over the height of a lane, as one path, which keeps the SVG small."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if not len(ends):
        return
    left, right = ends.T
    low, high = np.full(left.size, lane[0]), np.full(left.size, lane[1])
    corners = [(left, low), (left, high), (right, high), (right, low), (left, low)]
    points = np.stack([np.column_stack(corner) for corner in corners], axis=1).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], left.size)
    patch = PathPatch(Path(points, codes), linewidth=0, clip_on=False)
    if is_hatched:
        patch.set(facecolor="none", edgecolor=COLORS[color], hatch="////", alpha=0.6)
    else:
        patch.set(facecolor=COLORS[color], alpha=alpha)
    axes.add_patch(patch)


def _score_ticks(axes: Axes, axis: ScoreAxis) -> None:
    from matplotlib.ticker import MaxNLocator

    ticks = np.array(axis.ticks(4) if axis.kind != "linear" else MaxNLocator(4).tick_values(axis.low, axis.high))
    ticks = ticks[(ticks >= axis.low) & (ticks <= axis.high)]
    axes.set_yticks(axis.position(ticks), [rounded(tick, 4) for tick in ticks])


def _time_ticks(axes: Axes, edges: Points, *, has_clock: bool, max_ticks: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.grid(visible=False)
    start, end = float(edges[0]), float(edges[-1])
    if not has_clock:
        axes.xaxis.set_major_locator(MaxNLocator(max_ticks, integer=True))
        return
    step = next((step for step in _STEPS_S if (end - start) / step <= max_ticks), _STEPS_S[-1])
    ticks = np.arange(np.ceil(start / step), np.floor(end / step) + 1) * step
    axes.set_xticks(ticks, [clock_text(float(tick)) for tick in ticks])
    if ticks.size and end - ticks[-1] < 0.02 * (end - start):  # at the edge, half of it would be clipped
        axes.get_xticklabels()[-1].set_horizontalalignment("right")
