"""The first figures of a report of videos: what an operator lives through, how well scores separate, what to doubt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from offnormal.calibration.calibration import Calibration
from offnormal.metrics.operational import Operation
from offnormal.metrics.video import METRICS, PER_VIDEO_NORM, SMOOTHED
from offnormal.report.headline import Promise, Tile, Track, promised, tile
from offnormal.report.wording import NONE, counted, duration, hundred, percent, rate, score
from offnormal.video_evaluation import HEADLINE, VideoEvaluation

_MEANING = {
    "frame_AUC_micro": "how often an anomalous frame scores above a normal one, of any video",
    "frame_AUC_macro": "the same within one video, averaged",
    "frame_EER": "errors where as many normal frames are called anomalous as are missed; lower is better",
    "frame_AP": "mean precision over all recalls",
    "pixel_AUROC": "how often a marked pixel scores above an unmarked one",
    "pixel_AUPRO": "overlap with marked regions, up to 30 % false pixels",
}
_SUFFIXES = ("", SMOOTHED, PER_VIDEO_NORM, SMOOTHED + PER_VIDEO_NORM)
_MOSTLY = 0.5  # share of the time in alarm from which on what it catches says nothing
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Figure:
    """One large figure with its unit and a line below it."""

    title: str
    value: str
    unit: str
    note: str
    colour: str


@dataclass(frozen=True, slots=True)
class Variants:
    """The frame metrics under every treatment of the scores; a dash where there is none."""

    suffixes: list[str]  # "" first: raw scores
    rows: list[tuple[str, list[float | None]]]
    smoothing: str | None  # what was done for `_smoothed`

    @property
    def papers(self) -> int:
        """How many of the last columns are for comparison with papers only."""
        return sum(suffix.endswith(PER_VIDEO_NORM) for suffix in self.suffixes)


def tiles(evaluation: VideoEvaluation) -> list[Tile]:
    """The headline metrics in their order, the missing ones with the reason; empty where there are none at all."""
    if not evaluation.metrics:
        return []
    meaning = dict(_MEANING)
    counted_in = sum(row.auc is not None for row in evaluation.detail.videos)
    meaning["frame_AUC_macro"] += f" over {counted_in:,} of {counted(len(evaluation.videos), 'video', 'videos')}"
    return [tile(name, evaluation.metrics, evaluation.missing, meaning[name]) for name in HEADLINE]


def variants(evaluation: VideoEvaluation) -> Variants | None:
    """Raw, smoothed and per-video-normalised metrics side by side; None where no frame metric could be computed."""
    metrics = evaluation.metrics
    suffixes = [suffix for suffix in _SUFFIXES if any(name + suffix in metrics for name in METRICS)]
    if not suffixes:
        return None
    rows = [(name, [metrics.get(name + suffix) for suffix in suffixes]) for name in METRICS]
    return Variants(suffixes, rows, evaluation.detail.smoothing)


def lead(evaluation: VideoEvaluation) -> str:
    """One plain sentence: what an operator of these cameras would have lived through."""
    scored = sum(row.frames - row.not_scored for row in evaluation.detail.videos)
    number = f"{counted(scored, 'frame', 'frames')} of {counted(len(evaluation.videos), 'video', 'videos')}"
    found = evaluation.operation
    if found is None and evaluation.calibration is not None:
        return f"{number} scored. No alarms: {evaluation.missing['alarms']}."
    if found is None:
        return f"{number} scored, without verdicts: the detector is not calibrated, so there is no threshold."
    at, share = f"At the threshold {score(found.threshold)}", percent(found.time_in_alarm)
    judged = found.caught + found.missed
    if not evaluation.labelled:
        return (
            f"{at}: {counted(len(found.alarms), 'alarm', 'alarms')} in {duration(found.footage_s)} without labels, "
            f"{rate(found.alarms_per_hour)} per hour; in alarm for {share} of the time."
        )
    parts = []
    if judged:
        half = f", half of them within {duration(found.median_delay_s)}" if found.caught else ""
        parts.append(f"{found.caught:,} of {counted(judged, 'labelled span', 'labelled spans')} caught{half}")
    if found.normal_s:
        number = counted(found.false_alarms, "false alarm", "false alarms")
        hourly = f" ({rate(found.false_alarms_per_hour)} per hour)" if found.false_alarms else ""
        parts.append(f"{number} in {duration(found.normal_s)} of normal footage{hourly}")
        share = f"{share} of the time, {percent(found.normal_time_in_alarm)} of the normal footage"
    return f"{at}: {'; '.join([*parts, f'in alarm for {share}.'])}"


def figures(evaluation: VideoEvaluation) -> list[Figure]:
    """What the calibrated threshold does over the footage; empty without one."""
    found = evaluation.operation
    if found is None:
        return []
    if not evaluation.labelled:
        longest = max((alarm.end_s - alarm.start_s for alarm in found.alarms), default=None)
        number = f"{counted(len(found.alarms), 'alarm', 'alarms')} in {duration(found.footage_s)}"
        return [
            Figure("Alarms", rate(found.alarms_per_hour), "per hour", number, "anomalous"),
            _time_in_alarm(found),
            Figure("Longest alarm", duration(longest), "", _joined(found), "unknown"),
        ]
    judged, unseen = found.caught + found.missed, sum(not span.scored for span in found.spans)
    missed = f"{found.missed:,} missed" + (f"; {unseen:,} more without a score" if unseen else "")
    number = counted(found.false_alarms, "false alarm", "false alarms")
    return [
        Figure(
            "False alarms",
            rate(found.false_alarms_per_hour),
            "per hour" if found.normal_s else "",
            f"{number} in {duration(found.normal_s)} of normal footage" if found.normal_s else "no normal footage",
            "normal",
        ),
        Figure(
            "Spans caught",
            f"{found.caught:,}" if judged else NONE,
            f"of {judged:,}" if judged else "",
            missed if judged else "no labelled span with a score",
            "anomalous",
        ),
        Figure("Median delay", duration(found.median_delay_s), "", _slowest(found), "anomalous"),
        _time_in_alarm(found),
    ]


def warnings(evaluation: VideoEvaluation) -> list[str]:
    """What makes the figures say less than they seem to."""
    found, said = evaluation.operation, []
    normal = None if found is None else found.normal_time_in_alarm
    share = None if found is None else found.time_in_alarm
    if normal is not None and normal > _MOSTLY:
        said.append(
            f"The alarm hardly ever ends: it is on during {percent(normal)} of the normal footage. An alarm that is "
            "always on catches everything at once and counts as no false alarm: delays and spans caught say nothing "
            "here. Calibrate on footage of this camera, days and hours."
        )
    elif normal is None and share is not None and share > _MOSTLY and not evaluation.labelled:
        said.append(
            f"The alarm hardly ever ends: it is on during {percent(share)} of the footage. Unless that much is off "
            "normal, calibrate on footage of this camera, days and hours."
        )
    return said


def promise(evaluation: VideoEvaluation) -> Promise | None:
    """The promised rate beside the one that was seen; None without a calibration."""
    calibration, found = evaluation.calibration, evaluation.operation
    if calibration is None or found is None:
        return None
    text = promised(calibration)
    if not found.normal_s:
        return Promise(text, "It holds no footage labelled normal, so nothing can be said.", None, ())
    if calibration.rate.is_share or calibration.by_hand:
        return _frames_promise(evaluation, calibration, text)
    return _hourly_promise(found, calibration, text)


def _frames_promise(evaluation: VideoEvaluation, calibration: Calibration, text: str) -> Promise:
    """A rate that is a share of the normal frames."""
    kept = [
        video.scores.scores[video.scores.scored & ~video.scores.labels]
        for video in evaluation.videos
        if video.scores.labels is not None
    ]
    scores = np.concatenate(kept)
    above = int(np.count_nonzero(scores > calibration.threshold))
    seen = 100 * above / scores.size
    happened = (
        f"{above:,} of {counted(scores.size, 'normal test frame was', 'normal test frames were')} called anomalous: "
        f"{hundred(seen)} per 100."
    )
    if calibration.by_hand:
        return Promise(text, happened, None, ())
    target, low, high = (100 * value for value in (calibration.rate.value, *calibration.interval))
    limit = max(high, target)
    end = 1.08 * max(limit, seen)
    tracks = (
        Track("promised", target, low, high, end, "ink"),
        Track("on the normal frames of the test", seen, seen, seen, end, "normal"),
    )
    return Promise(text, f"{happened} {_judged(seen, target, limit)}", seen <= limit, tracks)


def _hourly_promise(found: Operation, calibration: Calibration, text: str) -> Promise:
    """A rate in alarms per hour or day, judged as if false alarms came independently (Poisson)."""
    from scipy.stats import chi2

    hours, count = found.normal_s / 3600, found.false_alarms
    target = calibration.rate.per_hour
    seen = count / hours
    low = float(chi2.ppf((1 - _LEVEL) / 2, 2 * count)) / 2 / hours if count else 0.0
    high = float(chi2.ppf((1 + _LEVEL) / 2, 2 * count + 2)) / 2 / hours
    happened = (
        f"{counted(count, 'false alarm', 'false alarms')} in {duration(found.normal_s)} of normal footage: "
        f"{rate(seen)} per hour (95 % interval {rate(low)} to {rate(high)})."
    )
    end = 1.08 * max(high, target)
    tracks = (
        Track("promised", target, target, target, end, "ink"),
        Track("on the normal footage of the test", seen, low, high, end, "normal"),
    )
    return Promise(text, f"{happened} {_judged(low, target, target)}", low <= target, tracks)


def _judged(seen: float, target: float, high: float) -> str:
    if seen > high:
        return (
            "That is more than promised, beyond what its interval allows: this footage differs from what it was "
            "calibrated on. Calibrate again with normal footage of the same camera, days and hours."
        )
    if seen > target:
        return "That is more than promised, but within its interval."
    return "That agrees with the promise as far as so much footage can tell."


def _time_in_alarm(found: Operation) -> Figure:
    normal = found.normal_time_in_alarm
    note = _joined(found) if normal is None else f"{percent(normal)} of the normal footage"
    return Figure("Time in alarm", percent(found.time_in_alarm), "of the footage", note, "unknown")


def _joined(found: Operation) -> str:
    return f"alarms up to {duration(found.merge_gap_s)} apart count as one"


def _slowest(found: Operation) -> str:
    if not found.delays_s:
        return "nothing was caught"
    return f"from a span's start to its first frame in alarm; slowest {duration(max(found.delays_s))}"
