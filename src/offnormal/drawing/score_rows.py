"""Scores as a thin row on a shared axis, small enough for a table: a stroke each, or a box plot."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.drawing.axis import ScoreAxis

_WIDTH = 1000  # units of the drawing, which is stretched to its cell
_STRIP_HEIGHT, _BOX_HEIGHT = 20, 28
_REACH = 1.5  # times the box, on the axis as drawn: whiskers go to the furthest score within (Tukey, 1977, section 2C)


def strip(scores: np.ndarray, axis: ScoreAxis, *, threshold: float | None, colour: str) -> str:
    """An <svg> with one stroke for each of the scores (R,) and a taller one for the threshold.

    colour: name of a colour of the page (`figure.COLOURS`). Scores that fall on one stroke are drawn once.
    """
    strokes = "".join(f"M{place} 4v12" for place in np.unique(_places(scores, axis).round().astype(int)))
    line = ""
    if threshold is not None:
        line = f'<path class="limit" d="M{round(_places(threshold, axis)[0])} 0v{_STRIP_HEIGHT}"/>'
    return _row("strip", _STRIP_HEIGHT, f'{line}<path style="stroke: var(--{colour})" d="{strokes}"/>')


def box(scores: np.ndarray, axis: ScoreAxis, *, threshold: float | None, colour: str, also: float | None = None) -> str:
    """An <svg> with box, median, whiskers and a stroke for each of the scores (R,); the threshold as a taller stroke.

    colour: name of a colour of the page (`figure.COLOURS`). also: another threshold, dashed.
    """
    places = np.sort(_places(scores, axis))
    drawn = [
        f'<path class="{name}" d="M{_places(value, axis)[0]:.1f} 0v{_BOX_HEIGHT}"/>'
        for name, value in (("limit", threshold), ("limit other", also))
        if value is not None
    ]
    if places.size:
        low, first, middle, third, high = whiskers(places)
        tone = f'style="stroke: var(--{colour}); fill: var(--{colour})"'
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
