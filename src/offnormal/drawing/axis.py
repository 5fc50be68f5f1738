"""One axis for scores, straight or bent where they differ widely, and thin rows on it: a stroke each, or a box plot."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

_WIDE = 30.0  # highest to lowest, or range to quartile spread, from which on the axis is bent
_DEEPEST = 1e-4  # of the median: a logarithmic axis goes no lower, one stray score near 0 would stretch it


@dataclass(frozen=True, slots=True)
class ScoreAxis:
    """Where scores lie between the two ends of an axis; what lies beyond an end is drawn at it."""

    kind: Literal["linear", "log", "asinh"]
    low: float
    high: float
    bend: float = 1.0  # asinh: scores nearer to 0 than this are spaced evenly

    def position(self, scores: np.ndarray) -> NDArray[np.float64]:
        """Scores (R,) -> places (R,) from 0 at the low end to 1 at the high one.

        >>> ScoreAxis("log", 1, 100).position(np.array([1, 10, 1000])).tolist()
        [0.0, 0.5, 1.0]
        """
        low, high = self._bent(np.array([self.low, self.high]))
        inside = np.clip(np.asarray(scores, dtype=np.float64), self.low, self.high)
        return np.asarray((self._bent(inside) - low) / (high - low))

    def edges(self, bins: int) -> NDArray[np.float64]:
        """Edges (bins + 1,) of bins that look equally wide on this axis."""
        low, high = self._bent(np.array([self.low, self.high]))
        even = np.linspace(low, high, bins + 1)
        edges = np.asarray(self._straight(even))
        edges[0], edges[-1] = self.low, self.high
        return edges

    def ticks(self, most: int) -> list[float]:
        """At most so many round scores (1, 2 or 5 times a power of ten) for a bent axis, well apart on it.

        >>> ScoreAxis("log", 23, 722).ticks(8)
        [50.0, 100.0, 200.0, 500.0]
        """
        largest = max(abs(self.low), abs(self.high))
        powers = range(math.floor(math.log10(largest)), math.floor(math.log10(largest)) - 9, -1)
        inside = [0.0] if self.low <= 0 else []
        chosen: list[float] = []
        for steps in ((1,), (5, 2)):
            sizes = [step * 10.0**power for power in powers for step in steps]
            for value in (*inside, *sizes, *(-size for size in sizes)):
                if not self.low <= value <= self.high or len(chosen) == most:
                    continue
                places = self.position(np.array([value, *chosen]))
                if np.all(np.abs(places[1:] - places[0]) > 0.7 / most):
                    chosen.append(value)
        return sorted(chosen)

    def _bent(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.kind == "log":
            return np.log(scores)
        return np.arcsinh(scores / self.bend) if self.kind == "asinh" else scores

    def _straight(self, bent: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.kind == "log":
            return np.exp(bent)
        return np.sinh(bent) * self.bend if self.kind == "asinh" else bent


def axis_for(groups: Iterable[np.ndarray], threshold: float | None = None) -> ScoreAxis:
    """The axis that shows every score of several groups (R,) and the threshold; what is not finite is left aside.

    Logarithmic where positive scores span more than a factor of 30; asinh where they reach to 0 or below and span
    more than 30 times their quartiles; otherwise straight.
    """
    values = np.concatenate([np.zeros(0), *(np.asarray(group, dtype=np.float64) for group in groups)])
    values = values[np.isfinite(values)]
    seen = np.append(values, threshold) if threshold is not None and np.isfinite(threshold) else values
    if not seen.size:
        return ScoreAxis("linear", 0.0, 1.0)
    low, middle, high = float(seen.min()), float(np.median(seen)), float(seen.max())
    if low > 0 and high / low > _WIDE:
        return ScoreAxis("log", max(low, middle * _DEEPEST), high)
    spread = float(np.subtract(*np.percentile(seen, (75, 25))))
    if low <= 0 and spread > 0 and high - low > _WIDE * spread:
        return ScoreAxis("asinh", low, high, bend=spread)
    room = 0.02 * (high - low) or 0.05 * abs(high) or 1.0
    return ScoreAxis("linear", max(low - room, 0.0) if low >= 0 else low - room, high + room)


_WIDTH = 1000  # units of the drawing, which is stretched to its cell
_STRIP_HEIGHT, _BOX_HEIGHT = 20, 28
_REACH = 1.5  # times the box, on the axis as drawn: whiskers go to the furthest score within (Tukey, 1977, section 2C)


def strip(scores: np.ndarray, axis: ScoreAxis, *, threshold: float | None, color: str) -> str:
    """An <svg> with one stroke for each of the scores (R,) and a taller one for the threshold.

    color: name of a color of the page (`figure.COLORS`). Scores that fall on one stroke are drawn once.
    """
    strokes = "".join(f"M{place} 4v12" for place in np.unique(_places(scores, axis).round().astype(int)))
    line = ""
    if threshold is not None:
        line = f'<path class="limit" d="M{round(_places(threshold, axis)[0])} 0v{_STRIP_HEIGHT}"/>'
    return _row("strip", _STRIP_HEIGHT, f'{line}<path style="stroke: var(--{color})" d="{strokes}"/>')


def box(scores: np.ndarray, axis: ScoreAxis, *, threshold: float | None, color: str) -> str:
    """An <svg> with box, median, whiskers and a stroke for each of the scores (R,); the threshold as a taller stroke.

    color: name of a color of the page (`figure.COLORS`).
    """
    places = np.sort(_places(scores, axis))
    drawn = []
    if threshold is not None:
        drawn.append(f'<path class="limit" d="M{_places(threshold, axis)[0]:.1f} 0v{_BOX_HEIGHT}"/>')
    if places.size:
        low, first, middle, third, high = whiskers(places)
        tone = f'style="stroke: var(--{color}); fill: var(--{color})"'
        drawn += [
            f'<path class="whisker" {tone} d="M{low:.1f} 14H{first:.1f}M{third:.1f} 14H{high:.1f}'
            f'M{low:.1f} 9v10M{high:.1f} 9v10"/>',
            f'<path class="body" {tone} d="M{first:.1f} 5H{third:.1f}v18H{first:.1f}z"/>',
            f'<path class="each" {tone} d="{"".join(f"M{place:.0f} 11v6" for place in np.unique(places.round()))}"/>',
            f'<path class="middle" {tone} d="M{middle:.1f} 4v20"/>',
        ]
    return _row("box", _BOX_HEIGHT, "".join(drawn))


def whiskers(places: np.ndarray) -> tuple[float, float, float, float, float]:
    """Sorted places (R,) -> end of the lower whisker, lower quartile, median, upper quartile, end of the upper whisker.

    >>> whiskers(np.array([0.0, 1, 2, 3, 4, 20]))
    (0.0, 1.25, 2.5, 3.75, 4.0)
    """
    first, middle, third = np.percentile(places, (25, 50, 75))
    reach = _REACH * (third - first)
    inside = places[(places >= first - reach) & (places <= third + reach)]
    return float(min(inside[0], first)), float(first), float(middle), float(third), float(max(inside[-1], third))


def _places(scores: ArrayLike, axis: ScoreAxis) -> NDArray[np.float64]:
    """Where on the row each finite score is."""
    values = np.atleast_1d(np.asarray(scores, dtype=np.float64))
    return axis.position(values[np.isfinite(values)]) * _WIDTH


def _row(kind: str, height: int, drawn: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {_WIDTH} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f"{drawn}</svg>"
    )
