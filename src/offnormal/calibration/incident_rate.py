"""How many incidents follow from a count of incidents: the mean rate, its bound, and the count of the next day.

Counts of incidents vary more than a Poisson count: their variance is `dispersion` times their mean. With the gamma
distribution of the mean rate after N incidents in T (the posterior of a quasi-Poisson count: McCullagh and Nelder,
Generalized Linear Models, 1989, section 6.2), counts of later footage are negative binomial.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

BLOCK_S = 3 * 3600.0  # counts of blocks of this length show the dispersion
MIN_DISPERSION = 2.0
_FEWEST = 3  # incidents that show a dispersion
_LEVEL = 0.95


def dispersion(counts: ArrayLike) -> float:
    """Variance over mean of the counts (n,) of blocks of equal length, at least 2; 2 below three incidents.

    >>> dispersion([0, 0, 12, 0])
    12.0
    """
    values = np.asarray(counts, dtype=np.float64)
    if values.sum() < _FEWEST or len(values) < 2:
        return MIN_DISPERSION
    return max(MIN_DISPERSION, float(values.var(ddof=1) / values.mean()))


def mean_bound(incidents: float, exposure: float, spread: float, confidence: float = _LEVEL) -> float:
    """Upper bound of the mean number of incidents per unit of exposure, one-sided; spread: the dispersion.

    >>> round(mean_bound(0, 1.0, 1.0), 2)
    3.0
    """
    from scipy.stats import gamma

    return float(spread * gamma.ppf(confidence, incidents / spread + 1) / exposure)


def later_interval(incidents: float, exposure: float, later: float, spread: float) -> tuple[float, float]:
    """Interval that contains the number of incidents in `later` units of exposure in 95 % of cases.

    >>> later_interval(6, 1.0, 1.0, 2.0)
    (0.0, 20.0)
    """
    from scipy.stats import nbinom

    low, high = nbinom.ppf(
        [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], incidents / spread + 0.5, exposure / (exposure + later)
    )
    return float(spread * low), float(spread * high)


def later_excess(incidents: int, later: float, *, calibrated: float, exposure: float, spread: float) -> float:
    """Chance of at least this many incidents in `later`, after `calibrated` in `exposure`; all in the same unit."""
    from scipy.stats import nbinom

    at_least = np.ceil(incidents / spread)
    return float(nbinom.sf(at_least - 1, calibrated / spread + 0.5, exposure / (exposure + later)))
