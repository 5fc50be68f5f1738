"""The key figures of a report: the effect of the threshold, the separation of scores, and warnings."""

from __future__ import annotations

import math

from offnormal.calibration.calibration import DEFAULT_RATE, Calibration
from offnormal.calibration.guarantee import normals_needed
from offnormal.drawing.wording import NONE, duration, hundred, interval, percent, rate, score
from offnormal.errors import counted
from offnormal.evaluation.alarms import COVERS_NORMAL_FOOTAGE, AlarmReport
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.units import TRAITS
from offnormal.events.machine import EventRules
from offnormal.metrics.decision import Share, SplitRow
from offnormal.report.block import Block, Element, Figure, Figures, Tiles
from offnormal.report.blocks.metrics import tiles
from offnormal.report.blocks.scores import SPLIT_TITLES

_HALF = 0.5  # of the time in alarm, or of the normals above the threshold; above it, a warning is shown


def key_figures(evaluation: Evaluation) -> Block | None:
    """The effect of the threshold and the headline metrics; None if there is neither."""
    elements: list[Element] = []
    if figures := _figures(evaluation):
        elements.append(Figures(figures))
    if metrics := tiles(evaluation):
        elements.append(Tiles(metrics))
    return Block(name="summary", title="Key figures", elements=elements, style="bare") if elements else None


def lead(evaluation: Evaluation) -> str:
    """One sentence with the main result."""
    table, traits = evaluation.table, TRAITS[evaluation.unit]
    number = counted(int((table.scored & table.tested).sum()), *traits.noun)
    if traits.item != traits.noun:
        number += f" of {counted(len(table.items), *traits.item)}"
    if evaluation.threshold is None:
        return f"{number} scored. No verdicts: the detector is not calibrated, so there is no threshold."
    at = f"At the threshold {score(evaluation.threshold)}"
    if evaluation.alarms is not None:
        return f"{at}: {_alarm_lead(evaluation.alarms, is_labeled=evaluation.labeled)}"
    if evaluation.frames is not None:
        return f"{number} scored. No alarms: {evaluation.missing.get('alarms', 'the footage has no frame times')}."
    if evaluation.confusion is None:
        above = int((table.score[table.tested] > evaluation.threshold).sum())
        return f"{at}: {above:,} of {number} are above it; they have no labels."
    confusion = evaluation.confusion
    normal, anomalous = confusion.false_alarms_per_100_normal, confusion.missed_per_100_anomalous
    singular, plural = traits.noun
    detected = (
        f"{confusion.detected:,} of {counted(anomalous.total, f'anomalous {singular}', f'anomalous {plural}')} detected"
    )
    tested = counted(normal.total, f"normal {singular}", f"normal {plural}")
    alarms = f"{counted(normal.count, 'false alarm', 'false alarms')} on {tested}"
    return f"{at}: {', '.join([detected] * bool(anomalous.total) + [alarms] * bool(normal.total))}."


def warnings(evaluation: Evaluation) -> list[str]:
    """Warnings about what limits the figures."""
    texts = [f"{note[0].upper()}{note[1:]}." for note in evaluation.notes]
    if evaluation.alarms is not None:
        texts += _alarm_warnings(evaluation.alarms, is_labeled=evaluation.labeled)
    if evaluation.assumed_fps is not None:
        texts.append(f"No frame times in the footage: durations assume {evaluation.assumed_fps:g} frames per second.")
    plural = TRAITS[evaluation.unit].noun[1]
    if evaluation.calibration is not None:
        texts += _few_normals(evaluation.calibration, plural)
    normal = None if evaluation.confusion is None else evaluation.confusion.false_alarms_per_100_normal
    if normal is not None and normal.total and normal.count / normal.total > _HALF:
        texts.append(
            f"Only {percent(1 - normal.count / normal.total)} of the normal {plural} of the test are below the "
            f"threshold: they differ from the calibration set. Calibrate on normal {plural} like these."
        )
    return texts


def rules_text(rules: EventRules) -> str:
    """The rules of an alarm in words.

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
        half = f", median delay {duration(alarms.median_delay_s)}" if alarms.detected else ""
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
    singular, plural = (f"{label} {word}" for word in noun)
    if share.per_100 is None:
        return Figure(title, NONE, "", f"no {plural} in the test", label)
    note = f"{hundred(share.per_100)} per 100, 95 % interval {interval(share)}"
    track = (share.low, share.per_100, share.high)
    return Figure(title, f"{share.count:,}", f"of {counted(share.total, singular, plural)}", note, label, track)


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
    slowest = "no span was detected"
    if alarms.delays_s:
        slowest = f"from the start of a span to the alarm; longest {duration(max(alarms.delays_s))}"
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
    if alarms.covers_normal_footage and normal is not None and normal <= _HALF:
        return [COVERS_NORMAL_FOOTAGE]
    if normal is not None and normal > _HALF:
        return [
            f"The alarm is on for {percent(normal)} of the normal footage. An alarm that is always on detects "
            "everything and counts as no false alarm, so delays and detected spans are meaningless here. Calibrate on "
            "footage of the same camera, days, and hours."
        ]
    if normal is None and footage is not None and footage > _HALF and not is_labeled:
        return [
            f"The alarm is on for {percent(footage)} of the footage. Unless that much is anomalous, calibrate on "
            "footage of the same camera, days, and hours."
        ]
    return []


def _few_normals(calibration: Calibration, plural: str) -> list[str]:
    """A warning if the calibration set is too small for the default rate."""
    is_usual = calibration.rate.value <= DEFAULT_RATE * 1.0001
    if calibration.explicit or calibration.by_hand or not calibration.rate.is_share or is_usual:
        return []
    number, effective = len(calibration.scores), math.floor(calibration.effective + 1e-9)
    worth = f" (as informative as {effective:,} independent ones)" if effective < number else ""
    return [
        f"The calibration set has {number:,} normal {plural}{worth}: too few to guarantee less than "
        f"{100 * calibration.rate.value:.2g} % false alarms. 5 % needs {normals_needed(0.05):,}, "
        f"{100 * DEFAULT_RATE:g} % needs {normals_needed(DEFAULT_RATE):,}."
    ]
