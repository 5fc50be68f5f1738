"""Check whether a guarantee held: one exact test on normal units scored after calibration.

Independent units: the threshold is the j-th highest of n calibration scores. If m new normal units are exchangeable
with them, the number K above the threshold is beta-binomial(m; j, n + 1 - j): the true rate is Beta(j, n + 1 - j)
(Vovk, Conditional validity of inductive conformal predictors, 2012), and K is binomial given that rate.

Events in time: c events in T1 hours of calibration and K events in T2 later hours are Poisson with one unknown rate.
With the gamma(c + 1, T1) distribution of that rate, K is negative binomial(c + 1, T1 / (T1 + T2)).

Adjacent frames are correlated and are not counted one by one: `guarantee.count_events` joins exceedances that are
close together (runs declustering: Coles, An Introduction to Statistical Modeling of Extreme Values, 2001, section
5.3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from offnormal.errors import UsageError

if TYPE_CHECKING:
    from offnormal.calibration.calibration import Calibration

SIGNIFICANCE = 0.025  # highest chance that a guarantee that holds is called broken
_EXCESS = 10  # a true rate of this many times the guaranteed one should be detected
_MIN_POWER = 0.5  # in at least this share of all test sets of the same size


class Answer(Enum):
    """Result of a check."""

    HELD = "held"
    BROKEN = "broken"
    NOT_ENOUGH_DATA = "not enough data"


@dataclass(frozen=True, slots=True)
class GuaranteeCheck:
    """The answer, and the probability of at least this many exceedances if the guarantee holds."""

    answer: Answer
    p_value: float  # P(K >= exceedances): one-sided, exact


def check_guarantee(calibration: Calibration, exceedances: int, exposure: float) -> GuaranteeCheck | None:
    """Check a calibration on normal units that were not used for training or calibration; None: no guarantee.

    The counts depend on `calibration.rate.per`:

    image, clip: exceedances = normal units with a score above the threshold; exposure = normal units.
    frame: exceedances = `count_events` of the normal frames above the threshold with gap_s = `calibration.block_s`,
        summed over videos; exposure = seconds of normal footage.
    hour, day: exceedances = false alarms by the event rules; exposure = seconds of normal footage.

    Also None for a share of frames calibrated without times (`block_s` is None).
    Raises UsageError for negative numbers and for more exceedances than units.
    """
    rate = calibration.rate
    if calibration.by_hand or (rate.per not in ("image", "clip") and calibration.block_s is None):
        return None
    if rate.per in ("image", "clip"):
        return check_units(
            exceedances, int(exposure), rank=calibration.rank, normals=calibration.effective, rate=rate.value
        )
    assert calibration.block_s is not None
    if rate.is_share:
        units = int(exposure / calibration.block_s)  # stretches of footage, each worth one independent frame
        return check_units(
            min(exceedances, units),
            units,
            rank=calibration.rank,
            normals=calibration.effective,
            rate=calibration.rank / (calibration.effective + 1),
        )
    return check_events(
        exceedances,
        exposure / 3600,
        allowed=calibration.rank - 1,
        calibrated_hours=calibration.effective * calibration.block_s / 3600,
        rate_per_hour=rate.per_hour,
    )


def check_units(exceedances: int, units: int, *, rank: float, normals: float, rate: float) -> GuaranteeCheck:
    """Check on independent units: `exceedances` of `units` are above the `rank`-th highest of `normals` scores.

    rank and normals may be fractional (effective sample size). rate: the guaranteed share.
    Raises UsageError unless 0 <= exceedances <= units and 0 < rank <= normals.

    >>> check_units(6, 60, rank=2, normals=199, rate=0.01).answer
    <Answer.BROKEN: 'broken'>
    >>> check_units(3, 60, rank=2, normals=199, rate=0.01).answer
    <Answer.HELD: 'held'>
    """
    from scipy.stats import betabinom, binom

    if not (0 <= exceedances <= units and 0 < rank <= normals):
        raise UsageError(
            f"exceedances {exceedances}, units {units}, rank {rank:g}, scores {normals:g}: expected "
            "0 <= exceedances <= units and 0 < rank <= scores"
        )
    distribution = betabinom(units, rank, normals + 1 - rank)
    p_value = float(distribution.pmf(np.arange(exceedances, units + 1)).sum())  # 1 - cdf loses small values
    return _decide(p_value, int(distribution.isf(SIGNIFICANCE)) + 1, binom(units, min(1.0, _EXCESS * rate)).sf)


def check_events(
    events: int, hours: float, *, allowed: float, calibrated_hours: float, rate_per_hour: float
) -> GuaranteeCheck:
    """Check on events in time: `events` in `hours`, after `allowed` above the threshold in `calibrated_hours`.

    rate_per_hour: the guaranteed rate. Raises UsageError for numbers below 0 and calibrated_hours not above 0.

    >>> check_events(12, 24, allowed=2, calibrated_hours=24, rate_per_hour=2 / 24).answer
    <Answer.BROKEN: 'broken'>
    """
    from scipy.stats import nbinom, poisson

    if min(events, hours, allowed) < 0 or calibrated_hours <= 0:
        raise UsageError(
            f"events {events}, hours {hours:g}, allowed {allowed:g}, calibrated_hours {calibrated_hours:g}: expected "
            "numbers >= 0 and calibrated_hours above 0"
        )
    distribution = nbinom(allowed + 1, calibrated_hours / (calibrated_hours + hours))
    return _decide(
        float(distribution.sf(events - 1)),
        int(distribution.isf(SIGNIFICANCE)) + 1,
        poisson(_EXCESS * rate_per_hour * hours).sf,
    )


def _decide(p_value: float, critical: int, power: Callable[[int], float]) -> GuaranteeCheck:
    """critical: fewest exceedances called broken. power(n): chance of more than n at 10 x the rate."""
    if p_value < SIGNIFICANCE:
        return GuaranteeCheck(Answer.BROKEN, p_value)
    has_power = power(critical - 1) >= _MIN_POWER
    return GuaranteeCheck(Answer.HELD if has_power else Answer.NOT_ENOUGH_DATA, p_value)
