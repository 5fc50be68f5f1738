"""Was a guarantee held? One exact test of what a calibration guarantees against the normals seen later.

Independent units: the threshold is the j-th highest of n calibration scores. If m new normals are exchangeable with
them, the number K above it is beta-binomial(m; j, n + 1 - j): the realized rate is Beta(j, n + 1 - j) (Vovk,
Conditional validity of inductive conformal predictors, 2012), and K is binomial given that rate.

Events in time: c events in T1 hours of calibration and K in T2 hours later, both Poisson with one unknown rate. With
the gamma(c + 1, T1) law of that rate, K is negative binomial(c + 1, T1 / (T1 + T2)).

Frames resemble their neighbors and are never counted one by one: `guarantee.count_events` joins exceedances that are
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

SIGNIFICANCE = 0.025  # a guarantee that holds is called broken at most so often
_WORSE = 10  # a true rate so many times the guaranteed one should be noticed
_NOTICED = 0.5  # in at least this share of all test sets of the same size


class Answer(Enum):
    """What a check says."""

    HELD = "held"
    BROKEN = "broken"
    NOT_ENOUGH_DATA = "not enough data"


@dataclass(frozen=True, slots=True)
class GuaranteeCheck:
    """The answer, and how likely so many exceedances are where the guarantee holds."""

    answer: Answer
    p_value: float  # P(K >= seen): one-sided, exact


def check_guarantee(calibration: Calibration, exceedances: int, exposure: float) -> GuaranteeCheck | None:
    """Check a calibration on normals that neither it nor the detector has seen; None: it guarantees nothing.

    What is counted depends on the rate, `calibration.rate.per`:

    image, clip: exceedances = normal units with a score above the threshold; exposure = normal units.
    frame: exceedances = `count_events` of the normal frames above the threshold with gap_s = `calibration.block_s`,
        summed over videos; exposure = seconds of normal footage.
    hour, day: exceedances = false alarms by the event rules; exposure = seconds of normal footage.

    None as well for a share of frames whose calibration was given no times (`block_s` is None).
    Raises UsageError for negative numbers, or more exceedances than units.
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
        units = int(exposure / calibration.block_s)  # stretches of footage that are worth one independent frame
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
    """Check on independent units: so many of `units` normals lie above the `rank`-th highest of `normals` scores.

    rank and normals may be fractional: an effective number. rate: the guaranteed share.
    Raises UsageError unless 0 <= exceedances <= units and 0 < rank <= normals.

    >>> check_units(6, 60, rank=2, normals=199, rate=0.01).answer
    <Answer.BROKEN: 'broken'>
    >>> check_units(3, 60, rank=2, normals=199, rate=0.01).answer
    <Answer.HELD: 'held'>
    """
    from scipy.stats import betabinom, binom

    if not (0 <= exceedances <= units and 0 < rank <= normals):
        raise UsageError(
            f"{exceedances} of {units} units above the {rank:g}-th highest of {normals:g} scores: expected "
            "0 <= exceedances <= units and 0 < rank <= scores"
        )
    law = betabinom(units, rank, normals + 1 - rank)
    p_value = float(law.pmf(np.arange(exceedances, units + 1)).sum())  # 1 - cdf loses small values
    return _answer(p_value, int(law.isf(SIGNIFICANCE)) + 1, binom(units, min(1.0, _WORSE * rate)).sf)


def check_events(
    events: int, hours: float, *, allowed: float, calibrated_hours: float, rate_per_hour: float
) -> GuaranteeCheck:
    """Check on events in time: so many in `hours`, where `allowed` were above the threshold in `calibrated_hours`.

    rate_per_hour: the guaranteed rate. Raises UsageError unless numbers are >= 0 and calibrated_hours above 0.

    >>> check_events(12, 24, allowed=2, calibrated_hours=24, rate_per_hour=2 / 24).answer
    <Answer.BROKEN: 'broken'>
    """
    from scipy.stats import nbinom, poisson

    if min(events, hours, allowed) < 0 or calibrated_hours <= 0:
        raise UsageError(
            f"{events} events in {hours:g} h, {allowed:g} allowed in {calibrated_hours:g} h: expected numbers >= 0 and "
            "hours of calibration above 0"
        )
    law = nbinom(allowed + 1, calibrated_hours / (calibrated_hours + hours))
    return _answer(
        float(law.sf(events - 1)), int(law.isf(SIGNIFICANCE)) + 1, poisson(_WORSE * rate_per_hour * hours).sf
    )


def _answer(p_value: float, critical: int, noticed: Callable[[int], float]) -> GuaranteeCheck:
    """critical: the fewest exceedances called broken. noticed: chance of more than so many at ten times the rate."""
    if p_value < SIGNIFICANCE:
        return GuaranteeCheck(Answer.BROKEN, p_value)
    enough = noticed(critical - 1) >= _NOTICED
    return GuaranteeCheck(Answer.HELD if enough else Answer.NOT_ENOUGH_DATA, p_value)
