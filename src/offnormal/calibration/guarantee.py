"""What n normal scores can guarantee: order statistics, the numbers they need, and the spread of the realized rate.

Split conformal prediction (Vovk et al., 2005; Lei et al., 2018, section 2): if n normal scores and the next one are
exchangeable, the next exceeds the k-th smallest with probability at most 1 - k / (n + 1). Over many calibrations the
realized rate of that threshold is Beta(n + 1 - k, k) (Vovk, 2012).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from offnormal.errors import CalibrationError

_UNLUCKY = 0.1  # chance that groups differ more than is allowed for
_ROUNDING = 1e-9  # (n + 1)(1 - rate) may come out a hair above a whole number


def normals_needed(rate: float) -> int:
    """Fewest normal scores with which a rate can be guaranteed.

    >>> normals_needed(0.01), normals_needed(0.05)
    (99, 19)
    """
    return math.ceil((1 - rate) / rate - _ROUNDING)


def smallest_rate(n: float) -> float:
    """The smallest rate that n normal scores can guarantee: 1 / (n + 1)."""
    return 1 / (n + 1)


def _rounded_up(rate: float) -> float:
    return math.ceil(1e4 * rate) / 1e4


def order_statistic(n: int, rate: float, effective: float | None = None, things: str = "images") -> int:
    """k = ceil((n + 1)(1 - rate)): the k-th smallest of n normal scores is the threshold.

    effective: how many independent scores the n are worth; k is then the same quantile of what so many guarantee.
    Raises CalibrationError naming the number needed when n normal scores cannot guarantee the rate.

    >>> order_statistic(209, 0.01)
    208
    """
    worth = n if effective is None else min(effective, n)
    share = (worth + 1) * (1 - rate) / worth
    if share > 1 + _ROUNDING:
        what = f"{n} normal {things}"
        if worth < n:
            what += f" of few groups, worth about {worth:.3g} independent ones"
        raise CalibrationError(
            f"a false-alarm rate of {rate:.3g} cannot be guaranteed from {what}: it needs {normals_needed(rate)}. "
            f"Add normal {things}, or ask for {_rounded_up(smallest_rate(worth)):.4g} or more"
        )
    return min(n, math.ceil(n * share - _ROUNDING * n))


def rate_interval(n: float, k: float, level: float = 0.95) -> tuple[float, float]:
    """Central interval of the realized false-alarm rate of the k-th of n scores: quantiles of Beta(n + 1 - k, k).

    n and k may be fractional: an effective number of scores for samples that resemble each other.
    """
    from scipy.stats import beta

    low, high = beta.ppf(((1 - level) / 2, (1 + level) / 2), n + 1 - k, k)
    return float(low), float(high)


def effective_number(scores: np.ndarray, groups: Sequence[str | None]) -> float:
    """How many independent scores n grouped ones are worth: n / (1 + (m - 1) icc), m the mean group size.

    icc is the upper 90 % bound of the intraclass correlation of one-way analysis of variance (Kish, Survey Sampling,
    1965, section 5.4; McGraw and Wong, 1996, table 7): few groups say little of how much groups differ. Without
    groups, n.
    """
    from scipy.stats import f

    n = len(scores)
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        if group is None:
            return float(n)
        members.setdefault(group, []).append(i)
    if len(members) < 2 or len(members) == n:
        return float(n)
    sizes = np.array([len(rows) for rows in members.values()])
    means = np.array([scores[rows].mean() for rows in members.values()])
    between = float((sizes * (means - scores.mean()) ** 2).sum()) / (len(members) - 1)
    inside = sum(float(((scores[rows] - scores[rows].mean()) ** 2).sum()) for rows in members.values())
    within = inside / (n - len(members))
    if between + within == 0:
        return float(n)
    size = (n - float((sizes**2).sum()) / n) / (len(members) - 1)
    f_ratio = between / max(within, 1e-12 * between) / float(f.ppf(_UNLUCKY, len(members) - 1, n - len(members)))
    icc = min(max((f_ratio - 1) / (f_ratio + size - 1), 0.0), 1.0)
    return n / (1 + (n / len(members) - 1) * icc)


def effective_of_series(series: Sequence[np.ndarray]) -> float:
    """How many independent values some time series (n_i,) are worth: n / (1 + 2 sum of autocorrelations).

    Around the mean of all series, so that series that differ from each other count as correlated; the sum ends with
    the last pair of lags whose sum is positive (Geyer, Practical Markov chain Monte Carlo, 1992, section 3.3).
    """
    n = sum(len(values) for values in series)
    mean = float(np.concatenate(series).mean()) if n else 0.0
    centered = [values - mean for values in series]
    power = sum(float(values @ values) for values in centered)
    if power == 0:
        return float(n)

    def correlation(lag: int) -> float:
        return sum(float(values[:-lag] @ values[lag:]) for values in centered if len(values) > lag) / power

    total = 0.0
    for lag in range(1, max(len(values) for values in series), 2):
        pair = correlation(lag) + correlation(lag + 1)
        if pair <= 0:
            break
        total += pair
    return n / (1 + 2 * total)


def count_events(times_s: np.ndarray, gap_s: float) -> int:
    """How many events the exceedances at these rising times (n,) are: those up to gap_s apart are one.

    >>> count_events(np.array([0.0, 1.0, 2.0, 30.0]), gap_s=10)
    2
    """
    return 0 if len(times_s) == 0 else 1 + int((np.diff(times_s) > gap_s).sum())
