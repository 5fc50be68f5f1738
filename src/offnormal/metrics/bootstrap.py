"""Uncertainty of metrics: the bootstrap over clusters of scores.

Frames of one video are correlated, so whole clusters (videos, groups, stretches of time) are drawn with replacement,
never single frames. All detectors get the same draws, so differences are paired and their intervals much narrower
than with independent draws. Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993),
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
_BINS = 2048  # metrics are exact up to this many distinct scores; more are binned by equal counts
_MAX_VALUES = 4_000_000  # in memory at a time
_MIN_VALID = 0.5  # share of draws that must have a value

Floats = NDArray[np.float64]


def draws(units: int, number: int = DRAWS, seed: int = SEED) -> Floats:
    """Count of each unit in each draw, (number, units): every row sums to `units`.

    The same arguments give the same draws. Raises DataError for fewer than two units.
    """
    if units < 2:
        raise DataError(f"units={units}: expected at least 2 for an interval")
    rng = np.random.default_rng(seed)
    portion = max(1, _MAX_VALUES // units)
    rows = [rng.integers(0, units, (min(portion, number - start), units)) for start in range(0, number, portion)]
    counts = [np.bincount(row, minlength=units) for part in rows for row in part]
    return np.array(counts, dtype=np.float64)


def drawn_metrics(labels: ArrayLike, scores: ArrayLike, units: ArrayLike, weights: Floats) -> dict[str, Floats]:
    """Compute AUC, AP, best F1, and EER, (draws,) each, for draws `weights` (draws, units) of scores (n,).

    units: (n,) unit of each score. A draw with one class only gives NaN. Definitions as in `metrics.image` and
    `metrics.video`; above 2,048 distinct scores, adjacent ones are binned. DataError as in `metrics.image`.
    """
    flags, values = labeled_scores(labels, scores)
    bins = _falling_bins(values)
    size = int(bins.max()) + 1 if bins.size else 1
    parts = list(_tables(flags, bins, size, np.asarray(units, dtype=np.int64), weights))
    metrics = [_metrics(positive, negative) for positive, negative in parts]
    return {name: np.concatenate([part[name] for part in metrics]) for name in ("AUC", "AP", "F1", "EER")}


def drawn_mean(values: ArrayLike, weights: Floats) -> Floats:
    """Mean (draws,) of values (units,) over the units with a value; NaN: no value.

    >>> drawn_mean([0.5, np.nan, 1.0], np.array([[1.0, 1, 1], [0, 2, 1], [0, 3, 0]])).tolist()
    [0.75, 1.0, nan]
    """
    numbers = np.asarray(values, dtype=np.float64)
    valid = np.isfinite(numbers)
    total = weights @ valid.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, (weights @ np.where(valid, numbers, 0.0)) / total, np.nan))


def interval(values: Floats) -> tuple[float, float] | None:
    """95 % percentile interval of values (draws,); None if more than half are NaN."""
    valid = values[np.isfinite(values)]
    if not valid.size or valid.size < _MIN_VALID * values.size:
        return None
    low, high = np.percentile(valid, (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    return float(low), float(high)


def _falling_bins(values: Floats) -> NDArray[np.int64]:
    """Bin (n,) of each score, 0 = highest: one bin per distinct score, or at most `_BINS` bins of equal counts."""
    _, inverse, counts = np.unique(-values, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(-1).astype(np.int64)
    if counts.size <= _BINS:
        return inverse
    before = np.cumsum(counts) - counts
    return np.asarray((before * _BINS // values.size)[inverse], dtype=np.int64)


def _tables(
    flags: NDArray[np.bool_], bins: NDArray[np.int64], size: int, units: NDArray[np.int64], weights: Floats
) -> Iterator[tuple[Floats, Floats]]:
    """Yield counts of anomalous and normal scores by bin, (some draws, size) each, in portions that fit in memory."""
    from scipy.sparse import csr_matrix

    shape = (weights.shape[1], size)
    table = [csr_matrix((np.ones(int(row.sum())), (units[row], bins[row])), shape=shape) for row in (flags, ~flags)]
    portion = max(1, _MAX_VALUES // size)
    for start in range(0, len(weights), portion):
        drawn = weights[start : start + portion]
        yield np.asarray(drawn @ table[0]), np.asarray(drawn @ table[1])


def _metrics(positive: Floats, negative: Floats) -> dict[str, Floats]:
    """Metrics of draws from counts of anomalous and normal scores by bin, (draws, bins), the highest bin first."""
    detected, false = np.cumsum(positive, axis=1), np.cumsum(negative, axis=1)
    anomalous, normal = detected[:, -1:], false[:, -1:]
    has_both = (anomalous * normal)[:, 0] > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        area = np.sum(negative * (detected - positive / 2), axis=1) / (anomalous * normal)[:, 0]
        precision = np.where(detected + false > 0, detected / (detected + false), 0.0)
        average = np.sum(positive * precision, axis=1) / anomalous[:, 0]
        best = np.max(2 * detected / (anomalous + detected + false), axis=1)
        error = _equal_error(detected / anomalous, false / normal)
    metrics = {"AUC": area, "AP": average, "F1": best, "EER": error}
    return {name: np.where(has_both, values, np.nan) for name, values in metrics.items()}


def _equal_error(recall: Floats, false_rate: Floats) -> Floats:
    """Rates where the line between the two nearest points of each ROC curve (draws, bins) crosses FPR = FNR."""
    excess = np.pad(recall + false_rate - 1, ((0, 0), (1, 0)), constant_values=-1.0)
    rates = np.pad(false_rate, ((0, 0), (1, 0)))
    after = np.argmax(excess >= -1e-12, axis=1)  # rounding may put 0 just below
    row = np.arange(len(excess))
    below = -excess[row, after - 1]
    fraction = below / (excess[row, after] + below)
    return np.asarray(rates[row, after - 1] + fraction * (rates[row, after] - rates[row, after - 1]))
