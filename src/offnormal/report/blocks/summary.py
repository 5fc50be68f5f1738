"""The first figures of a report: what the threshold does, how well scores separate, what limits both."""

from __future__ import annotations

import math

from offnormal.calibration.calibration import DEFAULT_RATE, Calibration
from offnormal.calibration.guarantee import normals_needed
from offnormal.drawing.wording import NONE, counted, duration, hundred, interval, percent, rate, score
from offnormal.evaluation.alarms import AlarmReport
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.units import TRAITS
from offnormal.events.machine import EventRules
from offnormal.metrics.decision import Share, SplitRow
from offnormal.report.block import Block, Element, Figure, Figures, Tiles
from offnormal.report.blocks.metrics import tiles
from offnormal.report.blocks.scores import SPLIT_TITLES

_MOSTLY = 0.5  # share of the time in alarm, or of the normals above the threshold, that is worth a warning


def key_figures(evaluation: Evaluation) -> Block | None:
    """What the threshold does and the headline metrics; None where there is neither."""
    elements: list[Element] = []
    if figures := _figures(evaluation):
        elements.append(Figures(figures))
    if metrics := tiles(evaluation):
        elements.append(Tiles(metrics))
    return Block(name="summary", title="Key figures", elements=elements, style="bare") if elements else None


def lead(evaluation: Evaluation) -> str:
    """One plain sentence: what happened to how many units."""
    table, traits = evaluation.table, TRAITS[evaluation.unit]
    number = counted(int((table.scored & table.tested).sum()), *traits.noun)
    if traits.item != traits.noun:
        number += f" of {counted(len(table.items), *traits.item)}"
    if evaluation.threshold is None:
        return f"{number} scored, without verdicts: the detector is not calibrated, so there is no threshold."
    at = f"At the threshold {score(evaluation.threshold)}"
    if evaluation.alarms is not None:
        return f"{at}: {_alarm_lead(evaluation.alarms, is_labeled=evaluation.labeled)}"
    if evaluation.frames is not None:
        return f"{number} scored. No alarms: {evaluation.missing.get('alarms', 'the footage has no clock')}."
    if evaluation.confusion is None:
        above = int((table.score[table.tested] > evaluation.threshold).sum())
        return f"{at}: {above:,} of {number} without labels score above it."
    confusion = evaluation.confusion
    normal, anomalous = confusion.false_alarms_per_100_normal, confusion.missed_per_100_anomalous
    one, several = traits.noun
    detected = (
        f"{confusion.detected:,} of {counted(anomalous.total, f'anomalous {one}', f'anomalous {several}')} detected"
    )
    tested = counted(normal.total, f"normal {one}", f"normal {several}")
    alarms = f"{counted(normal.count, 'false alarm', 'false alarms')} on {tested}"
    return f"{at}: {', '.join([detected] * bool(anomalous.total) + [alarms] * bool(normal.total))}."


def warnings(evaluation: Evaluation) -> list[str]:
    """What makes the figures mean less than they seem to."""
    texts = [] if evaluation.alarms is None else _alarm_warnings(evaluation.alarms, is_labeled=evaluation.labeled)
    if evaluation.assumed_fps is not None:
        texts.append(f"Footage without a clock: all seconds assume {evaluation.assumed_fps:g} frames per second.")
    several = TRAITS[evaluation.unit].noun[1]
    if evaluation.calibration is not None:
        texts += _few_normals(evaluation.calibration, several)
    normal = None if evaluation.confusion is None else evaluation.confusion.false_alarms_per_100_normal
    if normal is not None and normal.total and normal.count / normal.total > _MOSTLY:
        texts.append(
            f"Only {percent(1 - normal.count / normal.total)} of the normal {several} of the test are below the "
            f"threshold: they differ from those of the calibration. Calibrate on normal {several} like these."
        )
    return texts


def rules_text(rules: EventRules) -> str:
    """What makes an alarm.

    >>> rules_text(EventRules(min_duration_s=1.0, merge_gap_s=5.0))
    'at least 1 s long, gaps up to 5 s are merged'
    """
    return f"at least {duration(rules.min_duration_s)} long, gaps up to {duration(rules.merge_gap_s)} are merged"


def _alarm_lead(alarms: AlarmReport, *, is_labeled: bool) -> str:
    in_alarm = f"in alarm for {percent(alarms.time_in_alarm)} of the time"
    if not is_labeled:
        number = counted(len(alarms.alarms), "alarm", "alarms")
        return (
            f"{number} in {duration(alarms.footage_s)} without labels, {rate(alarms.alarms_per_hour)} per hour; "
            f"{in_alarm}."
        )
    texts, scored = [], alarms.detected + alarms.missed
    if scored:
        half = f", half of them within {duration(alarms.median_delay_s)}" if alarms.detected else ""
        texts.append(f"{alarms.detected:,} of {counted(scored, 'labeled span', 'labeled spans')} detected{half}")
    if alarms.normal_s:
        number = counted(alarms.false_alarms, "false alarm", "false alarms")
        hourly = f" ({rate(alarms.false_alarms_per_hour)} per hour)" if alarms.false_alarms else ""
        texts.append(f"{number} in {duration(alarms.normal_s)} of normal footage{hourly}")
        in_alarm += f", {percent(alarms.normal_time_in_alarm)} of the normal footage"
    return f"{'; '.join([*texts, in_alarm])}."


def _figures(evaluation: Evaluation) -> list[Figure]:
    if evaluation.alarms is not None:
        return _alarm_figures(evaluation.alarms, is_labeled=evaluation.labeled)
    noun = TRAITS[evaluation.unit].noun
    if evaluation.splits:
        by_split = {row.split: row for row in evaluation.splits if row.correct is not None}
        return [_split_figure(by_split[split], noun) for split in reversed(SPLIT_TITLES) if split in by_split]
    if (confusion := evaluation.confusion) is None:
        return []
    return [
        _share_figure("Missed", confusion.missed_per_100_anomalous, noun, "anomalous"),
        _share_figure("False alarms", confusion.false_alarms_per_100_normal, noun, "normal"),
    ]


def _share_figure(title: str, share: Share, noun: tuple[str, str], label: str) -> Figure:
    one, several = (f"{label} {word}" for word in noun)
    if share.per_100 is None:
        return Figure(title, NONE, "", f"no {several} in the test", label)
    note = f"{hundred(share.per_100)} per 100, 95 % interval {interval(share)}"
    track = (share.low, share.per_100, share.high)
    return Figure(title, f"{share.count:,}", f"of {counted(share.total, one, several)}", note, label, track)


def _split_figure(row: SplitRow, noun: tuple[str, str]) -> Figure:
    assert row.correct is not None
    is_anomalous = row.split == "anomalous"
    title = "Anomalous detected" if is_anomalous else f"Normal passed, {SPLIT_TITLES[row.split]}"
    note = f"{row.correct.count:,} of {counted(row.correct.total, *noun)}; 95 % interval {interval(row.correct)}"
    return Figure(title, hundred(row.correct.per_100), "per 100", note, "anomalous" if is_anomalous else "normal")


def _alarm_figures(alarms: AlarmReport, *, is_labeled: bool) -> list[Figure]:
    rules = rules_text(alarms.rules)
    normal = alarms.normal_time_in_alarm
    note = rules if normal is None else f"{percent(normal)} of the normal footage"
    time = Figure("Time in alarm", percent(alarms.time_in_alarm), "of the footage", note, "unknown")
    if not is_labeled:
        longest = max((row.alarm.end_s - row.alarm.start_s for row in alarms.alarms), default=None)
        number = f"{counted(len(alarms.alarms), 'alarm', 'alarms')} in {duration(alarms.footage_s)}"
        return [
            Figure("Alarms", rate(alarms.alarms_per_hour), "per hour", number, "anomalous"),
            time,
            Figure("Longest alarm", duration(longest), "", rules, "unknown"),
        ]
    scored, not_scored = alarms.detected + alarms.missed, sum(not span.is_scored for span in alarms.spans)
    missed = f"{alarms.missed:,} missed" + (f"; {not_scored:,} more without a score" if not_scored else "")
    slowest = "nothing was detected"
    if alarms.delays_s:
        slowest = f"from the start of a span until the alarm; slowest {duration(max(alarms.delays_s))}"
    normal_note = "no normal footage"
    if alarms.normal_s:
        number = counted(alarms.false_alarms, "false alarm", "false alarms")
        normal_note = f"{number} in {duration(alarms.normal_s)} of normal footage"
    hourly = "per hour" if alarms.normal_s else ""
    detected, of = (f"{alarms.detected:,}", f"of {scored:,}") if scored else (NONE, "")
    return [
        Figure("False alarms", rate(alarms.false_alarms_per_hour), hourly, normal_note, "normal"),
        Figure("Spans detected", detected, of, missed if scored else "no labeled span with a score", "anomalous"),
        Figure("Median delay", duration(alarms.median_delay_s), "", slowest, "anomalous"),
        time,
    ]


def _alarm_warnings(alarms: AlarmReport, *, is_labeled: bool) -> list[str]:
    normal, footage = alarms.normal_time_in_alarm, alarms.time_in_alarm
    if normal is not None and normal > _MOSTLY:
        return [
            f"The alarm is on during {percent(normal)} of the normal footage. An alarm that is always on detects "
            "everything at once and counts as no false alarm: delays and detected spans mean nothing here. Calibrate "
            "on footage of this camera, days, and hours."
        ]
    if normal is None and footage is not None and footage > _MOSTLY and not is_labeled:
        return [
            f"The alarm is on during {percent(footage)} of the footage. Unless that much is anomalous, calibrate on "
            "footage of this camera, days, and hours."
        ]
    return []


def _few_normals(calibration: Calibration, several: str) -> list[str]:
    """That few normals guarantee little; nothing where they guarantee what is usual."""
    is_usual = calibration.rate.value <= DEFAULT_RATE * 1.0001
    if calibration.explicit or calibration.by_hand or not calibration.rate.is_share or is_usual:
        return []
    number, effective = len(calibration.scores), math.floor(calibration.effective + 1e-9)
    worth = f" (as informative as {effective:,} independent ones)" if effective < number else ""
    return [
        f"The threshold rests on {number:,} normal {several}{worth}: too few to guarantee less than "
        f"{100 * calibration.rate.value:.2g} % false alarms. 5 % takes {normals_needed(0.05):,}, "
        f"{100 * DEFAULT_RATE:g} % takes {normals_needed(DEFAULT_RATE):,}."
    ]
