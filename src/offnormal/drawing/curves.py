"""Training curves: losses per optimizer, losses on held-out normals, and values per epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from offnormal.drawing.axis import axis_for
from offnormal.drawing.figure import COLORS, annotate, new_axes, to_png, to_svg
from offnormal.training.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS = 250  # per curve; with more steps, each point is a mean
_SIZE = (350, 300)  # pixels
_STYLES = ("normal", "anomalous", "muted", "ink")  # colors of the losses, the decisive loss first
_DASHED = (0, (4, 2))  # style from the fifth loss on

_Series = Mapping[int, Mapping[str, float | None]]  # step -> losses by name


@dataclass(frozen=True, slots=True)
class Curves:
    """One plot and its legend."""

    title: str
    lines: list[tuple[str, str, bool]]  # name, color, dashed
    figure: Figure

    @property
    def svg(self) -> str:
        """The plot without a legend, for a page that has one."""
        return to_svg(self.figure, f"Over the steps: {self.title}")

    @property
    def png(self) -> bytes:
        """The plot with a legend."""
        return to_png(self.figure, self.title, [(name, COLORS[color], dashed) for name, color, dashed in self.lines])


def curves(history: History | None) -> list[Curves]:
    """Draw the plots of a training; none without a history."""
    if history is None:
        return []
    names = dict.fromkeys(name for losses in history.steps.values() for name in losses)
    plots = [
        _plot(name, {step: losses[name] for step, losses in history.steps.items() if name in losses}, history)
        for name in names
    ]
    if history.validations:
        plots.append(_plot("held-out normals", history.validations, history, best=history.best))
    if history.epochs:
        plots.append(_plot("per epoch", history.epochs, history))
    return plots


def _plot(title: str, series: _Series, history: History, *, best: int | None = None) -> Curves:
    figure, axes = new_axes(*_SIZE, x="step", y="")
    names = sorted(
        dict.fromkeys(name for losses in series.values() for name in losses), key=lambda name: name != "loss"
    )
    lines = []
    values: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for rank, name in enumerate(names):
        steps = np.array([step for step, losses in series.items() if losses.get(name) is not None], np.float64)
        losses = np.array([value for named in series.values() if (value := named.get(name)) is not None], np.float64)
        values[name] = average_points(steps, losses)
        color, dashed = _STYLES[rank % len(_STYLES)], rank >= len(_STYLES)
        lines.append((name, color, dashed))
        axes.plot(
            *values[name],
            color=COLORS[color],
            linewidth=2.0 if name == "loss" else 1.2,
            linestyle=_DASHED if dashed else "-",
            marker="o" if len(steps) == 1 else None,
            markersize=4,
            zorder=3 if name == "loss" else 2,
        )
    _scale(axes, [losses for _, losses in values.values()])
    for step in history.resumed:
        axes.axvline(step, color=COLORS["muted"], linewidth=0.8, linestyle=(0, (2, 3)))
    loss = series.get(best, {}).get("loss") if best is not None else None
    if best is not None and loss is not None:
        last = max(series)
        axes.plot(best, loss, "o", color=COLORS["ink"], markersize=6, zorder=5)
        annotate(axes, best, loss, f"lowest {loss:.3g}", color="ink", ha="right" if best > 0.6 * last else "left")
    return Curves(title, lines, figure)


def average_points(
    steps: NDArray[np.float64], losses: NDArray[np.float64], max_points: int = _POINTS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reduce a curve to at most `max_points` points, each the mean of a run of steps of about equal length.

    >>> [points.tolist() for points in average_points(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 5, 5]), max_points=2)]
    [[1.5, 3.5], [2.0, 5.0]]
    """
    if len(steps) <= max_points:
        return steps, losses
    starts = np.arange(max_points) * len(steps) // max_points
    sizes = np.diff(np.append(starts, len(steps)))
    return np.add.reduceat(steps, starts) / sizes, np.add.reduceat(losses, starts) / sizes


def _scale(axes: Axes, losses: list[NDArray[np.float64]]) -> None:
    """Set a logarithmic axis for widely different losses, else a linear one, from 0 if no loss is negative."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

    axis = axis_for(losses)
    if axis.kind == "log":
        axes.set_yscale("log")
        axes.set_yticks(axis.ticks(max_ticks=10))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif all((value >= 0).all() for value in losses):
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.grid(visible=False)
