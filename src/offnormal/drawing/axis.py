"""The score axis, linear or nonlinear for wide ranges, and rows on it: strip plots and box plots."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

_WIDE_RANGE = 30.0  # highest to lowest, or range to interquartile range; above it the axis is nonlinear
_LOG_FLOOR = 1e-2  # lower limit of a log axis as a share of the lowest median; an outlier near 0 would stretch it


@dataclass(frozen=True, slots=True)
class ScoreAxis:
    """Maps scores to positions on an axis; scores beyond an end are drawn at the end."""

    kind: Literal["linear", "log", "asinh"]
    low: float
    high: float
    bend: float = 1.0  # asinh: scores closer to 0 than this are spaced linearly

    def position(self, scores: np.ndarray) -> NDArray[np.float64]:
        """Map scores (R,) to positions (R,) in 0-1.

        >>> ScoreAxis("log", 1, 100).position(np.array([1, 10, 1000])).tolist()
        [0.0, 0.5, 1.0]
        """
        low, high = self._transform(np.array([self.low, self.high]))
        inside = np.clip(np.asarray(scores, dtype=np.float64), self.low, self.high)
        return np.asarray((self._transform(inside) - low) / (high - low))

    def edges(self, bins: int) -> NDArray[np.float64]:
        """Return edges (bins + 1,) of bins that are equally wide on this axis."""
        low, high = self._transform(np.array([self.low, self.high]))
        even = np.linspace(low, high, bins + 1)
        edges = np.asarray(self._inverse(even))
        edges[0], edges[-1] = self.low, self.high
        return edges

    def ticks(self, max_ticks: int) -> list[float]:
        """Return at most `max_ticks` round scores (1, 2, or 5 times a power of ten), well apart on a nonlinear axis.

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
                if not self.low <= value <= self.high or len(chosen) == max_ticks:
                    continue
                positions = self.position(np.array([value, *chosen]))
                if np.all(np.abs(positions[1:] - positions[0]) > 0.7 / max_ticks):
                    chosen.append(value)
        return sorted(chosen)

    def _transform(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.kind == "log":
            return np.log(scores)
        return np.arcsinh(scores / self.bend) if self.kind == "asinh" else scores

    def _inverse(self, transformed: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.kind == "log":
            return np.exp(transformed)
        return np.sinh(transformed) * self.bend if self.kind == "asinh" else transformed


def axis_for(groups: Iterable[np.ndarray], threshold: float | None = None) -> ScoreAxis:
    """Return the axis that covers all finite scores of several groups (R,) and the threshold.

    Logarithmic where positive scores span more than a factor of 30; asinh where they reach to 0 or below and span
    more than 30 times the quartiles of the narrowest group, which would be a line; otherwise straight.
    """
    finite = [values[np.isfinite(values)] for values in (np.asarray(group, dtype=np.float64) for group in groups)]
    ends = [threshold] if threshold is not None and np.isfinite(threshold) else []
    range_values = np.concatenate([*finite, ends])
    if not range_values.size:
        return ScoreAxis("linear", 0.0, 1.0)
    low, high = float(range_values.min()), float(range_values.max())
    quartiles = [np.percentile(values, (25, 50, 75)) for values in [*finite, range_values] if values.size]
    if low > 0 and high / low > _WIDE_RANGE:
        return ScoreAxis("log", max(low, min(middle for _, middle, _ in quartiles) * _LOG_FLOOR), high)
    spread = float(min((third - first for first, _, third in quartiles if third > first), default=0.0))
    if low <= 0 and spread > 0 and high - low > _WIDE_RANGE * spread:
        return ScoreAxis("asinh", low, high, bend=spread)
    margin = 0.02 * (high - low) or 0.05 * abs(high) or 1.0
    return ScoreAxis("linear", max(low - margin, 0.0) if low >= 0 else low - margin, high + margin)


_WIDTH = 1000  # drawing units; the SVG is stretched to its table cell
_STRIP_HEIGHT, _BOX_HEIGHT = 20, 28
_WHISKER_REACH = 1.5  # times the box, on the axis: whiskers end at the furthest score within (Tukey, 1977, section 2C)


def strip(scores: np.ndarray, axis: ScoreAxis, *, threshold: float | None, color: str) -> str:
    """Draw an <svg> with one stroke per score (R,) and a taller one for the threshold.

    color: name in `figure.COLORS`. Scores at the same position share a stroke.
    """
    strokes = "".join(f"M{x} 4v12" for x in np.unique(_x_positions(scores, axis).round().astype(int)))
    line = ""
    if threshold is not None:
        line = f'<path class="limit" d="M{round(_x_positions(threshold, axis)[0])} 0v{_STRIP_HEIGHT}"/>'
    return _row("strip", _STRIP_HEIGHT, f'{line}<path style="stroke: var(--{color})" d="{strokes}"/>')


def box(scores: np.ndarray, axis: ScoreAxis, *, threshold: float | None, color: str) -> str:
    """Draw an <svg> with box, median, whiskers, one stroke per score (R,), and a taller one for the threshold.

    color: name in `figure.COLORS`.
    """
    positions = np.sort(_x_positions(scores, axis))
    elements = []
    if threshold is not None:
        elements.append(f'<path class="limit" d="M{_x_positions(threshold, axis)[0]:.1f} 0v{_BOX_HEIGHT}"/>')
    if positions.size:
        low, first, middle, third, high = whiskers(positions)
        tone = f'style="stroke: var(--{color}); fill: var(--{color})"'
        elements += [
            f'<path class="whisker" {tone} d="M{low:.1f} 14H{first:.1f}M{third:.1f} 14H{high:.1f}'
            f'M{low:.1f} 9v10M{high:.1f} 9v10"/>',
            f'<path class="body" {tone} d="M{first:.1f} 5H{third:.1f}v18H{first:.1f}z"/>',
            f'<path class="each" {tone} d="{"".join(f"M{x:.0f} 11v6" for x in np.unique(positions.round()))}"/>',
            f'<path class="middle" {tone} d="M{middle:.1f} 4v20"/>',
        ]
    return _row("box", _BOX_HEIGHT, "".join(elements))


def whiskers(positions: np.ndarray) -> tuple[float, float, float, float, float]:
    """Return lower whisker end, lower quartile, median, upper quartile, and upper whisker end of sorted positions (R,).

    >>> whiskers(np.array([0.0, 1, 2, 3, 4, 20]))
    (0.0, 1.25, 2.5, 3.75, 4.0)
    """
    first, middle, third = np.percentile(positions, (25, 50, 75))
    reach = _WHISKER_REACH * (third - first)
    inside = positions[(positions >= first - reach) & (positions <= third + reach)]
    return float(min(inside[0], first)), float(first), float(middle), float(third), float(max(inside[-1], third))


def _x_positions(scores: ArrayLike, axis: ScoreAxis) -> NDArray[np.float64]:
    """Return the x position of each finite score."""
    values = np.atleast_1d(np.asarray(scores, dtype=np.float64))
    return axis.position(values[np.isfinite(values)]) * _WIDTH


def _row(kind: str, height: int, elements: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {_WIDTH} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f"{elements}</svg>"
    )
