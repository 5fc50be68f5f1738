"""Check whether a guarantee held: one exact test on normal units scored after calibration.

Independent units: the threshold is the j-th highest of n calibration scores. If m new normal units are exchangeable
with them, the number K above the threshold is beta-binomial(m; j, n + 1 - j): the true rate is Beta(j, n + 1 - j)
(Vovk, Conditional validity of inductive conformal predictors, 2012), and K is binomial given that rate.

Incidents in time: c incidents in T1 of calibration and K incidents in T2 of later footage have one unknown rate and a
variance above that of a Poisson count, so K is negative binomial (`incident_rate.later_excess`).

Adjacent frames are correlated and are not counted one by one: `guarantee.count_events` joins exceedances that are
close together (runs declustering: Coles, An Introduction to Statistical Modeling of Extreme Values, 2001, section
5.3.2).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from offnormal.calibration.incident_rate import later_excess
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
    hour, day: exceedances = incidents of false alarms; exposure = seconds of normal footage.

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
    return check_incidents(
        exceedances,
        exposure / calibration.block_s,
        calibrated=calibration.rank - 1,
        exposure=calibration.effective,
        rate=rate.value,
        dispersion=calibration.dispersion or 1.0,
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


def check_incidents(
    incidents: int, later: float, *, calibrated: float, exposure: float, rate: float, dispersion: float
) -> GuaranteeCheck:
    """Check on incidents in time: `incidents` in `later`, after `calibrated` in `exposure`; the rate is per unit.

    Raises UsageError for numbers below 0 and an exposure not above 0.

    >>> check_incidents(12, 1.0, calibrated=2, exposure=1.0, rate=2, dispersion=2).answer
    <Answer.BROKEN: 'broken'>
    """
    from scipy.stats import poisson

    if min(incidents, later, calibrated) < 0 or exposure <= 0:
        raise UsageError(
            f"incidents {incidents}, later {later:g}, calibrated {calibrated:g}, exposure {exposure:g}: expected "
            "numbers >= 0 and an exposure above 0"
        )

    def chance(count: int) -> float:
        return later_excess(count, later, calibrated=calibrated, exposure=exposure, spread=dispersion)

    critical = next(count for count in itertools.count() if chance(count) < SIGNIFICANCE)
    power = poisson(_EXCESS * rate * later / dispersion)
    return _decide(chance(incidents), critical, lambda count: float(power.sf(math.floor(count / dispersion))))


def _decide(p_value: float, critical: int, power: Callable[[int], float]) -> GuaranteeCheck:
    """critical: fewest exceedances called broken. power(n): chance of more than n at 10 x the rate."""
    if p_value < SIGNIFICANCE:
        return GuaranteeCheck(Answer.BROKEN, p_value)
    has_power = power(critical - 1) >= _MIN_POWER
    return GuaranteeCheck(Answer.HELD if has_power else Answer.NOT_ENOUGH_DATA, p_value)
