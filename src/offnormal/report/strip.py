"""Every score of one kind as a stroke on a shared axis, one thin row each: small enough to stand in a table."""

from __future__ import annotations

import numpy as np

from offnormal.report.axis import ScoreAxis

_WIDTH, _HEIGHT = 1000, 20  # units of the drawing, which is stretched to its cell


def strip(scores: np.ndarray, axis: ScoreAxis, *, threshold: float | None, colour: str) -> str:
    """An <svg> with one stroke for each of the scores (R,) and a taller one for the threshold.

    colour: name of a colour of the page (`figure.COLOURS`). Scores that fall on one stroke are drawn once.
    """
    finite = np.asarray(scores, dtype=np.float64)
    places = np.unique((axis.position(finite[np.isfinite(finite)]) * _WIDTH).round().astype(int))
    strokes = "".join(f"M{place} 4v12" for place in places)
    line = ""
    if threshold is not None:
        place = round(float(axis.position(np.array([threshold]))[0]) * _WIDTH)
        line = f'<path class="limit" d="M{place} 0v{_HEIGHT}"/>'
    return (
        f'<svg class="strip" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f'{line}<path style="stroke: var(--{colour})" d="{strokes}"/></svg>'
    )
