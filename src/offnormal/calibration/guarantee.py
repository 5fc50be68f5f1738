"""Guarantees from n normal scores: order statistics, the number of scores needed, and the spread of the true rate.

Split conformal prediction (Vovk et al., 2005; Lei et al., 2018, section 2): if n normal scores and the next one are
exchangeable, the next exceeds the k-th smallest with probability at most 1 - k / (n + 1). Over many calibrations, the
true rate of that threshold is Beta(n + 1 - k, k) (Vovk, 2012).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from offnormal.errors import CalibrationError, rounded

_GROUP_RISK = 0.1  # chance that groups differ by more than the bound
_ROUNDING = 1e-9  # rounding may lift (n + 1)(1 - rate) just above an integer


def normals_needed(rate: float) -> int:
    """Smallest number of normal scores that can guarantee a rate.

    >>> normals_needed(0.01), normals_needed(0.05)
    (99, 19)
    """
    return math.ceil((1 - rate) / rate - _ROUNDING)


def smallest_rate(n: float) -> float:
    """Smallest rate that n normal scores can guarantee: 1 / (n + 1)."""
    return 1 / (n + 1)


def _round_up(rate: float) -> float:
    return math.ceil(1e4 * rate) / 1e4


def order_statistic(n: int, rate: float, effective: float | None = None, units: str = "images") -> int:
    """Rank k = ceil((n + 1)(1 - rate)): the k-th smallest of n normal scores is the threshold.

    effective: effective sample size of the n scores, which then takes the place of n in the quantile.
    Raises CalibrationError, with the number needed, if n normal scores cannot guarantee the rate.

    >>> order_statistic(209, 0.01)
    208
    """
    size = n if effective is None else min(effective, n)
    share = (size + 1) * (1 - rate) / size
    if share > 1 + _ROUNDING:
        basis = f"{n} normal {units.removesuffix('s') if n == 1 else units}"
        if size < n:
            basis += f" of few groups (effective sample size {rounded(size)})"
        raise CalibrationError(
            f"a false-alarm rate of {rate:.3g} cannot be guaranteed from {basis}; it needs {normals_needed(rate)}. "
            f"Add normal {units}, or set a rate of {_round_up(smallest_rate(size)):.4g} or more"
        )
    return min(n, math.ceil(n * share - _ROUNDING * n))


def rate_interval(n: float, k: float) -> tuple[float, float]:
    """Central 95 % confidence interval of the true false-alarm rate: quantiles of Beta(n + 1 - k, k).

    The threshold is the k-th smallest of n scores. n and k may be fractional (effective sample size).
    """
    from scipy.stats import beta

    low, high = beta.ppf((0.025, 0.975), n + 1 - k, k)
    return float(low), float(high)


def effective_sample_size(scores: np.ndarray, groups: Sequence[str | None]) -> float:
    """Effective sample size of n grouped scores: n / (1 + (m - 1) icc), m the mean group size; without groups n.

    icc is the upper 90 % bound of the intraclass correlation of one-way analysis of variance (Kish, Survey Sampling,
    1965, section 5.4; McGraw and Wong, 1996, table 7): few groups leave it uncertain how much groups differ.
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
    f_ratio = between / max(within, 1e-12 * between) / float(f.ppf(_GROUP_RISK, len(members) - 1, n - len(members)))
    icc = min(max((f_ratio - 1) / (f_ratio + size - 1), 0.0), 1.0)
    return n / (1 + (n / len(members) - 1) * icc)


def count_events(times_s: np.ndarray, gap_s: float) -> int:
    """Count events: exceedances at rising times (n,) are one event if they are at most gap_s apart.

    >>> count_events(np.array([0.0, 1.0, 2.0, 30.0]), gap_s=10)
    2
    """
    return 0 if len(times_s) == 0 else 1 + int((np.diff(times_s) > gap_s).sum())
