"""A box plot of one kind of clips as a thin row on a shared axis of scores, small enough to stand in a table."""

from __future__ import annotations

import numpy as np

from offnormal.report.axis import ScoreAxis

_WIDTH, _HEIGHT = 1000, 28  # units of the drawing, which is stretched to its cell
_REACH = 1.5  # times the box, on the axis as drawn: whiskers go to the furthest score within (Tukey, 1977, section 2C)


def box(scores: np.ndarray, axis: ScoreAxis, *, threshold: float | None, colour: str, also: float | None = None) -> str:
    """An <svg> with box, median, whiskers and a stroke for each of the scores (R,); the threshold as a taller stroke.

    colour: name of a colour of the page (`figure.COLOURS`). also: another threshold, dashed.
    """
    finite = np.asarray(scores, dtype=np.float64)
    places = np.sort(axis.position(finite[np.isfinite(finite)]) * _WIDTH)
    drawn = [
        f'<path class="{name}" d="M{_place(value, axis)} 0v{_HEIGHT}"/>'
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
    return (
        f'<svg class="box" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(drawn)}</svg>"
    )


def whiskers(places: np.ndarray) -> tuple[float, float, float, float, float]:
    """Sorted places (R,) -> end of the lower whisker, lower quartile, median, upper quartile, end of the upper whisker.

    >>> whiskers(np.array([0.0, 1, 2, 3, 4, 20]))
    (0.0, 1.25, 2.5, 3.75, 4.0)
    """
    first, middle, third = np.percentile(places, (25, 50, 75))
    reach = _REACH * (third - first)
    inside = places[(places >= first - reach) & (places <= third + reach)]
    return float(min(inside[0], first)), float(first), float(middle), float(third), float(max(inside[-1], third))


def _place(value: float, axis: ScoreAxis) -> str:
    return f"{float(axis.position(np.array([value]))[0]) * _WIDTH:.1f}"
