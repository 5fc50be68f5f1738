"""Scatter plots of clips: t-SNE of their embeddings or latents, one color per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offnormal.drawing.figure import RUN_COLORS, new_axes, to_svg

MIN_CLIPS = 8  # clips; with fewer, neighborhoods mean nothing
MAX_CLIPS = 2000  # maximum number of clips in a plot
_PERPLEXITY = 30.0  # van der Maaten and Hinton, JMLR 9 (2008), recommend 5 to 50; lower for few clips
_FAINT = 0.35  # opacity of training and calibration clips


@dataclass(frozen=True, slots=True)
class ClassKey:
    """Color and marker of a class."""

    action: str
    number: int  # N of the page's color variable --run-N
    marker: Literal["o", "X"]  # circles for normal classes, crosses for anomalous ones, so that colors are not needed


def class_keys(actions: Sequence[str], anomalous: Sequence[str]) -> list[ClassKey]:
    """Assign color and marker to each class, normal ones first; more than nine classes share colors."""
    ordered = sorted(dict.fromkeys(actions), key=lambda action: action in anomalous)
    return [
        ClassKey(action, number % len(RUN_COLORS) + 1, "X" if action in anomalous else "o")
        for number, action in enumerate(ordered)
    ]


def project(vectors: np.ndarray, *, seed: int = 0) -> NDArray[np.float64] | None:
    """Project vectors (R, D) to positions (R, 2) by t-SNE; None if there are too few or all are equal.

    Every dimension is first scaled to the same standard deviation, as detectors do.
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
    positions = TSNE(perplexity=perplexity, init=init, random_state=seed).fit_transform(values.astype(np.float32))
    return np.asarray(positions, dtype=np.float64)


def spread_evenly(number: int) -> NDArray[np.int64]:
    """Return at most `MAX_CLIPS` evenly spread indices below `number`."""
    return np.unique(np.linspace(0, number - 1, min(number, MAX_CLIPS)).round().astype(np.int64))


def scatter(
    positions: np.ndarray, actions: Sequence[str], is_tested: np.ndarray, keys: Sequence[ClassKey], title: str
) -> str:
    """Draw an <svg> of clips at positions (R, 2). is_tested: (R,) bool; other clips are drawn faintly."""
    figure, axes = new_axes(500, 400, x="", y="")
    names = np.asarray(actions, dtype=str)
    for key in keys:
        color = RUN_COLORS[key.number - 1]
        for selected, opacity in ((~is_tested, _FAINT), (is_tested, 1.0)):
            x, y = positions[selected & (names == key.action)].T
            axes.plot(x, y, key.marker, color=color, alpha=opacity, markersize=6, markeredgewidth=0, linestyle="none")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_position((0.01, 0.01, 0.98, 0.98))
    return to_svg(figure, title)
