"""How far a metric would move with other test data of the same kind: the bootstrap over units drawn together.

Frames of one video resemble each other, so whole units (videos, groups, stretches of time) are drawn with replacement
and never single frames. Every detector sees the same draws: the spread of a difference is that of pairs, which is
much narrower than the two spreads apart. Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993),
ch. 13 (percentile interval); for clusters Field and Welsh, J. R. Statist. Soc. B 69 (2007) 369-390.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offnormal.errors import DataError
from offnormal.metrics.inputs import labeled_scores

DRAWS, SEED = 1000, 0
LEVEL = 0.95
_BINS = 2048  # distinct scores up to which the metrics of a draw are exact; more are put together, by equal numbers
_AT_ONCE = 4_000_000  # numbers held at once
_LEAST = 0.5  # share of the draws that must allow a metric

Floats = NDArray[np.float64]


def draws(units: int, number: int = DRAWS, seed: int = SEED) -> Floats:
    """How often each unit comes in each draw, (number, units): every row sums to `units`.

    The same arguments give the same draws. Raises DataError for fewer than two units, which have no spread.
    """
    if units < 2:
        raise DataError(f"{units} unit to draw from: at least 2 are needed to tell how far a metric would move")
    rng = np.random.default_rng(seed)
    portion = max(1, _AT_ONCE // units)
    rows = [rng.integers(0, units, (min(portion, number - start), units)) for start in range(0, number, portion)]
    found = [np.bincount(row, minlength=units) for part in rows for row in part]
    return np.array(found, dtype=np.float64)


def drawn_metrics(labels: ArrayLike, scores: ArrayLike, units: ArrayLike, weights: Floats) -> dict[str, Floats]:
    """AUC, AP, F1 (best) and EER, each (draws,), of samples (n,) whose units are drawn as `weights` (draws, units) say.

    units: (n,) number of each sample's unit. A draw with one class only gives NaN. Definitions as in `metrics.image`
    and `metrics.video`; beyond 2,048 distinct scores neighbors are put together. DataError as in `metrics.image`.
    """
    flags, values = labeled_scores(labels, scores)
    bins = _falling_bins(values)
    size = int(bins.max()) + 1 if bins.size else 1
    parts = list(_tables(flags, bins, size, np.asarray(units, dtype=np.int64), weights))
    found = [_metrics(positive, negative) for positive, negative in parts]
    return {name: np.concatenate([part[name] for part in found]) for name in ("AUC", "AP", "F1", "EER")}


def drawn_mean(values: ArrayLike, weights: Floats) -> Floats:
    """Mean (draws,) over the units with a value: values (units,), NaN where a unit has none.

    >>> drawn_mean([0.5, np.nan, 1.0], np.array([[1.0, 1, 1], [0, 2, 1], [0, 3, 0]])).tolist()
    [0.75, 1.0, nan]
    """
    own = np.asarray(values, dtype=np.float64)
    known = np.isfinite(own)
    total = weights @ known.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, (weights @ np.where(known, own, 0.0)) / total, np.nan))


def interval(found: Floats) -> tuple[float, float] | None:
    """Percentile interval of draws (draws,) at the 95 % level; None where more than half of them are NaN."""
    valid = found[np.isfinite(found)]
    if not valid.size or valid.size < _LEAST * found.size:
        return None
    low, high = np.percentile(valid, (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    return float(low), float(high)


def _falling_bins(values: Floats) -> NDArray[np.int64]:
    """Bin (n,) of each score, 0 the highest; equal scores share one, and up to `_BINS` distinct ones have their own."""
    _, inverse, counts = np.unique(-values, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(-1).astype(np.int64)
    if counts.size <= _BINS:
        return inverse
    before = np.cumsum(counts) - counts
    return np.asarray((before * _BINS // values.size)[inverse], dtype=np.int64)


def _tables(
    flags: NDArray[np.bool_], bins: NDArray[np.int64], size: int, units: NDArray[np.int64], weights: Floats
) -> Iterator[tuple[Floats, Floats]]:
    """Anomalous and normal samples by bin, (part of the draws, size) each, in portions that fit the memory."""
    from scipy.sparse import csr_matrix

    shape = (weights.shape[1], size)
    table = [csr_matrix((np.ones(int(own.sum())), (units[own], bins[own])), shape=shape) for own in (flags, ~flags)]
    portion = max(1, _AT_ONCE // size)
    for start in range(0, len(weights), portion):
        some = weights[start : start + portion]
        yield np.asarray(some @ table[0]), np.asarray(some @ table[1])


def _metrics(positive: Floats, negative: Floats) -> dict[str, Floats]:
    """The metrics of draws from their anomalous and normal samples by bin, (draws, bins), the highest bin first."""
    caught, false = np.cumsum(positive, axis=1), np.cumsum(negative, axis=1)
    anomalous, normal = caught[:, -1:], false[:, -1:]
    both = (anomalous * normal)[:, 0] > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        area = np.sum(negative * (caught - positive / 2), axis=1) / (anomalous * normal)[:, 0]
        precision = np.where(caught + false > 0, caught / (caught + false), 0.0)
        average = np.sum(positive * precision, axis=1) / anomalous[:, 0]
        best = np.max(2 * caught / (anomalous + caught + false), axis=1)
        error = _equal_error(caught / anomalous, false / normal)
    found = {"AUC": area, "AP": average, "F1": best, "EER": error}
    return {name: np.where(both, values, np.nan) for name, values in found.items()}


def _equal_error(recall: Floats, false_rate: Floats) -> Floats:
    """Where a straight line between the two nearest points of each ROC curve (draws, bins) crosses FPR = FNR."""
    excess = np.pad(recall + false_rate - 1, ((0, 0), (1, 0)), constant_values=-1.0)
    rates = np.pad(false_rate, ((0, 0), (1, 0)))
    after = np.argmax(excess >= -1e-12, axis=1)  # sums of quotients: 0 may come out a hair below
    row = np.arange(len(excess))
    below = -excess[row, after - 1]
    way = below / (excess[row, after] + below)
    return np.asarray(rates[row, after - 1] + way * (rates[row, after] - rates[row, after - 1]))
