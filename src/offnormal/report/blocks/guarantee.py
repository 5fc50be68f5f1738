"""The guarantee of the calibration, the observed false alarms, and whether the guarantee held."""

from __future__ import annotations

import math

from offnormal.calibration.calibration import Calibration
from offnormal.calibration.check import Answer
from offnormal.drawing.wording import duration, hundred, interval, rate
from offnormal.errors import counted
from offnormal.evaluation.alarms import AlarmReport
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.units import TRAITS
from offnormal.report.block import Block, Element, Side, Text, Tone, Track, Tracks
from offnormal.report.blocks.scores import labeled_scores

_CONFIDENCE = 0.95
_TONES: dict[Answer, Tone] = {Answer.HELD: "held", Answer.BROKEN: "broken", Answer.NOT_ENOUGH_DATA: "plain"}


def guarantee(evaluation: Evaluation) -> Block | None:
    """The expected and the observed false-alarm rate, and the answer; None without a calibration."""
    calibration = evaluation.calibration
    if calibration is None:
        return None
    observed = observed_rate(evaluation)
    stated = calibration.explanation
    left: list[Element] = [Text(label="Guarantee.", text=f"{stated[:1].upper()}{stated[1:]}.")]
    right: list[Element] = []
    if observed is None:
        noun = "footage" if evaluation.alarms is not None else TRAITS[evaluation.unit].noun[1]
        left.append(
            Text(label="Test.", text=f"No {noun} labeled normal, so the guarantee cannot be checked.", tone="plain")
        )
    else:
        text, track, unit = observed
        left.append(Text(label="Test.", text=text))
        if (meaning := answer_text(evaluation)) is not None and evaluation.guarantee is not None:
            answer = evaluation.guarantee.answer
            label = f"{answer.value.capitalize()}."
            left.append(Text(label=label, text=meaning, tone=_TONES[answer]))
        elif not calibration.by_hand:
            text = "Not checked: the calibration has no frame times, and consecutive frames are not independent."
            left.append(Text(text=text, tone="plain"))
        if not calibration.by_hand:
            right.append(_tracks(calibration, track, unit))
    return Block(
        name="guarantee", title="Expected and observed false alarms", elements=[Side(left, right)], style="card whole"
    )


def answer_text(evaluation: Evaluation) -> str | None:
    """The meaning of the answer; None if nothing was checked."""
    check, traits = evaluation.guarantee, TRAITS[evaluation.unit]
    if check is None:
        return None
    normals = f"normal {'footage' if evaluation.alarms is not None else traits.noun[1]}"
    p_value = f"(p-value {check.p_value:.2g})"
    if check.answer is Answer.BROKEN:
        return (
            f"More false alarms than chance explains {p_value}: the {normals} of the test set and of the "
            f"calibration set differ. Calibrate again on {normals} of the same days and setup."
        )
    if check.answer is Answer.HELD:
        return f"No more false alarms than chance explains {p_value}."
    return f"Even ten times the expected rate could go unnoticed on the {normals} of this test set {p_value}."


def observed_rate(evaluation: Evaluation) -> tuple[str, Track, str] | None:
    """The false alarms on the normals of the test as text, their rate per 100 or per hour, and its unit; or None."""
    calibration, alarms = evaluation.calibration, evaluation.alarms
    if calibration is None:
        return None
    if alarms is not None and not (calibration.rate.is_share or calibration.by_hand):
        return _per_hour(alarms)
    if alarms is not None:
        return _of_frames(evaluation, calibration)
    normal = None if evaluation.confusion is None else evaluation.confusion.false_alarms_per_100_normal
    if normal is None or normal.per_100 is None:
        return None
    singular, plural = TRAITS[evaluation.unit].noun
    number = counted(normal.total, f"normal {singular}", f"normal {plural}")
    alarms_text = counted(normal.count, "false alarm", "false alarms")
    share = f"{hundred(normal.per_100)} per 100 (95 % interval {interval(normal)})"
    text = f"{alarms_text} on {number}: {share}."
    return text, _observed_track(normal.per_100, normal.low, normal.high), f"false alarms per 100 normal {plural}"


def _of_frames(evaluation: Evaluation, calibration: Calibration) -> tuple[str, Track, str] | None:
    """The share of normal frames above the threshold; without an interval, because frames are not independent."""
    labels, scores = labeled_scores(evaluation)
    normal = scores[~labels]
    if not normal.size:
        return None
    above = int((normal > calibration.threshold).sum())
    observed = 100 * above / normal.size
    number = counted(normal.size, "normal frame", "normal frames")
    text = f"{above:,} of {number} above the threshold: {hundred(observed)} per 100."
    return text, _observed_track(observed, observed, observed), "per 100 normal frames"


def _per_hour(alarms: AlarmReport) -> tuple[str, Track, str] | None:
    """Incidents of false alarms per hour, with the interval of a Poisson count."""
    from scipy.stats import chi2

    if not alarms.normal_s:
        return None
    hours, number = alarms.normal_s / 3600, alarms.false_incidents
    low = float(chi2.ppf((1 - _CONFIDENCE) / 2, 2 * number)) / 2 / hours if number else 0.0
    high = float(chi2.ppf((1 + _CONFIDENCE) / 2, 2 * number + 2)) / 2 / hours
    text = (
        f"{counted(number, 'incident')} of false alarms in {duration(alarms.normal_s)} of normal footage: "
        f"{rate(number / hours)} per hour (95 % interval {rate(low)} to {rate(high)})."
    )
    return text, _observed_track(number / hours, low, high, suffix=""), "incidents per hour"


def _observed_track(value: float, low: float, high: float, suffix: str = " per 100") -> Track:
    return Track(f"{suffix} observed in the test", value, low, high, "normal")


def _tracks(calibration: Calibration, observed: Track, unit: str) -> Tracks:
    is_share = calibration.rate.is_share
    target = 100 * calibration.rate.value if is_share else calibration.rate.per_hour
    low, high = (100 * value for value in calibration.interval) if is_share else (target, target)
    expected = Track(f"{' per 100' * is_share} expected at most", target, low, high, "ink")
    return Tracks([expected, observed], unit, 100.0 if is_share else math.inf)
