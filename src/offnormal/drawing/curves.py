"""How a training went: losses by each optimizer, those of normals kept back, what a detector tells of its epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from offnormal.drawing.axis import axis_for
from offnormal.drawing.figure import COLORS, annotate_point, new_axes, to_png, to_svg
from offnormal.training.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS = 250  # of a curve; where there are more steps, each is the mean of several
_SIZE = (350, 300)  # pixels
_STYLES = ("normal", "anomalous", "muted", "ink")  # of the losses in turn, the one that counts first
_DASHED = (0, (4, 2))  # from the fifth loss on

_Series = Mapping[int, Mapping[str, float | None]]  # step -> losses by name


@dataclass(frozen=True, slots=True)
class Curves:
    """One plot with the names of its lines."""

    title: str
    lines: list[tuple[str, str, bool]]  # name, color, dashed
    figure: Figure

    @property
    def svg(self) -> str:
        """For a page that has a legend of its own."""
        return to_svg(self.figure, f"Over the steps: {self.title}")

    @property
    def png(self) -> bytes:
        """With a legend."""
        return to_png(self.figure, self.title, [(name, COLORS[color], dashed) for name, color, dashed in self.lines])


def curves(history: History | None) -> list[Curves]:
    """The plots of a training; none without one."""
    if history is None:
        return []
    names = dict.fromkeys(name for losses in history.steps.values() for name in losses)
    plots = [
        _plot(name, {step: losses[name] for step, losses in history.steps.items() if name in losses}, history)
        for name in names
    ]
    if history.validations:
        plots.append(_plot("normals kept back", history.validations, history, best=history.best))
    if history.epochs:
        plots.append(_plot("in each epoch", history.epochs, history))
    return plots


def _plot(title: str, series: _Series, history: History, *, best: int | None = None) -> Curves:
    figure, axes = new_axes(*_SIZE, x="step", y="")
    names = sorted(
        dict.fromkeys(name for losses in series.values() for name in losses), key=lambda name: name != "loss"
    )
    lines = []
    values: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for number, name in enumerate(names):
        steps = np.array([step for step, losses in series.items() if losses.get(name) is not None], np.float64)
        losses = np.array([found for named in series.values() if (found := named.get(name)) is not None], np.float64)
        values[name] = thinned(steps, losses)
        color, dashed = _STYLES[number % len(_STYLES)], number >= len(_STYLES)
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
        annotate_point(axes, best, loss, f"lowest {loss:.3g}", color="ink", ha="right" if best > 0.6 * last else "left")
    return Curves(title, lines, figure)


def thinned(
    steps: NDArray[np.float64], losses: NDArray[np.float64], most: int = _POINTS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most so many points: the means of stretches of about as many steps each.

    >>> [part.tolist() for part in thinned(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 5, 5]), most=2)]
    [[1.5, 3.5], [2.0, 5.0]]
    """
    if len(steps) <= most:
        return steps, losses
    starts = np.arange(most) * len(steps) // most
    sizes = np.diff(np.append(starts, len(steps)))
    return np.add.reduceat(steps, starts) / sizes, np.add.reduceat(losses, starts) / sizes


def _scale(axes: Axes, losses: list[NDArray[np.float64]]) -> None:
    """A straight axis from 0 where no loss is negative, a logarithmic one where they differ widely."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

    axis = axis_for(losses)
    if axis.kind == "log":
        axes.set_yscale("log")
        axes.set_yticks(axis.ticks(most=10))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif all((found >= 0).all() for found in losses):
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.grid(visible=False)
