"""What a detector makes of clips, laid out on a plane: t-SNE of embeddings or latents, a color for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offnormal.drawing.figure import RUN_COLORS, new_axes, to_svg

MIN_CLIPS = 8  # clips below which neighbors say nothing
MAX_CLIPS = 2000  # clips drawn
_PERPLEXITY = 30.0  # of van der Maaten and Hinton, JMLR 9 (2008), who advise 5 to 50; fewer clips, less
_FAINT = 0.35  # opacity of clips that were learned from or kept back


@dataclass(frozen=True, slots=True)
class ClassKey:
    """How the clips of a class are drawn."""

    action: str
    number: int  # of the page's color variable --run-N
    marker: Literal["o", "X"]  # circles for what is normal, crosses for what is not, so that no eye depends on colors


def class_keys(actions: Sequence[str], anomalous: Sequence[str]) -> list[ClassKey]:
    """One for each class, normal ones first; of more than nine some share a color."""
    ordered = sorted(dict.fromkeys(actions), key=lambda action: action in anomalous)
    return [
        ClassKey(action, number % len(RUN_COLORS) + 1, "X" if action in anomalous else "o")
        for number, action in enumerate(ordered)
    ]


def project(vectors: np.ndarray, *, seed: int = 0) -> NDArray[np.float64] | None:
    """Vectors (R, D) -> places (R, 2) by t-SNE; None for too few, or where all are the same.

    Every dimension is brought to the same spread first, as detectors see it.
    """
    if len(vectors) < MIN_CLIPS:
        return None
    values = np.asarray(vectors, dtype=np.float64)
    values = values[:, np.isfinite(values).all(0)]
    spread = values.std(0)
    values = (values - values.mean(0))[:, spread > 1e-12 * max(float(spread.max(initial=0)), 1e-300)]
    if not values.size:
        return None
    from sklearn.manifold import TSNE

    values = values / values.std(0)
    perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
    init = "pca" if min(values.shape) > 1 else "random"
    found = TSNE(perplexity=perplexity, init=init, random_state=seed).fit_transform(values.astype(np.float32))
    return np.asarray(found, dtype=np.float64)


def spread_evenly(number: int) -> NDArray[np.int64]:
    """At most `MAX_CLIPS` of so many clips, evenly spread."""
    return np.unique(np.linspace(0, number - 1, min(number, MAX_CLIPS)).round().astype(np.int64))


def scatter(
    places: np.ndarray, actions: Sequence[str], tested: np.ndarray, keys: Sequence[ClassKey], title: str
) -> str:
    """An <svg> of clips at places (R, 2); tested: (R,) bool, the others are drawn faintly."""
    figure, axes = new_axes(500, 400, x="", y="")
    names = np.asarray(actions, dtype=str)
    for key in keys:
        color = RUN_COLORS[key.number - 1]
        for own, opacity in ((~tested, _FAINT), (tested, 1.0)):
            x, y = places[own & (names == key.action)].T
            axes.plot(x, y, key.marker, color=color, alpha=opacity, markersize=6, markeredgewidth=0, linestyle="none")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_position((0.01, 0.01, 0.98, 0.98))
    return to_svg(figure, title)
