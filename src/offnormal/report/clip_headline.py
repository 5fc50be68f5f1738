"""The first figures of a report of clips: what is kept and caught, how well scores separate, what was promised."""

from __future__ import annotations

import math

from offnormal.calibration.calibration import DEFAULT_RATE, Calibration
from offnormal.calibration.guarantee import normals_needed
from offnormal.clip_evaluation import ClipEvaluation
from offnormal.metrics.clips import METRICS, PartRow
from offnormal.report.headline import Promise, Tile, Track, promised, tile
from offnormal.report.video_headline import Figure
from offnormal.report.wording import counted, hundred, interval, percent, score

_MEANING = {
    "clip_AUROC": "how often an anomalous clip scores above a normal one",
    "clip_AP": "mean precision over all recalls",
}
_SURE = 0.5  # of the test normals: a threshold that keeps fewer is worth a warning


def lead(evaluation: ClipEvaluation) -> str:
    """One plain sentence: what happened to how many clips."""
    tested = sum(row.tested for row in evaluation.clips)
    number = counted(tested, "clip", "clips")
    if evaluation.threshold is None:
        return f"{number} scored, without verdicts: the detector is not calibrated, so there is no threshold."
    at = f"At the threshold {score(evaluation.threshold)}"
    rows = {row.part: row for row in evaluation.accuracy}
    said = []
    if (caught := rows.get("anomalous")) is not None and caught.right is not None:
        said.append(f"{caught.right.count:,} of {counted(caught.clips, 'anomalous clip', 'anomalous clips')} caught")
    if (kept := rows.get("test")) is not None and kept.right is not None:
        said.append(f"{kept.right.count:,} of {counted(kept.clips, 'normal clip', 'normal clips')} kept")
    if not said:
        above = sum(bool(row.anomalous) for row in evaluation.clips if row.tested)
        return f"{at}: {above:,} of {number} without labels score above it."
    return f"{at}: {', '.join(said)}."


def figures(evaluation: ClipEvaluation) -> list[Figure]:
    """The accuracy table of the exercise as large figures; empty without a threshold."""
    titles = {
        "anomalous": ("Anomalous caught", "anomalous"),
        "train": ("Normal kept, train", "normal"),
        "calibration": ("Normal kept, calibration", "normal"),
        "test": ("Normal kept, test", "normal"),
    }
    order = sorted(evaluation.accuracy, key=lambda row: list(titles).index(row.part))
    return [_figure(row, *titles[row.part]) for row in order if row.right is not None]


def tiles(evaluation: ClipEvaluation) -> list[Tile]:
    """The metrics, the missing ones with the reason."""
    return [tile(name, evaluation.metrics, evaluation.missing, _MEANING[name]) for name in METRICS]


def warnings(evaluation: ClipEvaluation) -> list[str]:
    """What makes the figures say less than they seem to."""
    said = []
    calibration = evaluation.calibration
    if calibration is not None and not calibration.by_hand and calibration.rate.is_share:
        said += _few(calibration)
    kept = next((row.right for row in evaluation.accuracy if row.part == "test"), None)
    if kept is not None and kept.of and kept.count / kept.of < _SURE:
        said.append(
            f"Only {percent(kept.count / kept.of)} of the normal clips tested on are kept: they differ from those that "
            "set the threshold. More originals to learn from and to keep back would tell."
        )
    return said


def promise(evaluation: ClipEvaluation) -> Promise | None:
    """The promised rate beside the one that was seen on the normal clips tested on; None without a calibration."""
    calibration = evaluation.calibration
    if calibration is None:
        return None
    text = promised(calibration)
    kept = next((row.right for row in evaluation.accuracy if row.part == "test"), None)
    if kept is None or not kept.of:
        return Promise(text, "It holds no clips labelled normal, so nothing can be said.", None, ())
    above = kept.of - kept.count
    seen, low_seen, high_seen = 100 * above / kept.of, 100 - kept.high, 100 - kept.low
    happened = (
        f"{above:,} of {kept.of:,} normal test clips were called anomalous: {hundred(seen)} per 100 (95 % interval "
        f"{hundred(low_seen)} to {hundred(high_seen)})."
    )
    if calibration.by_hand or not calibration.rate.is_share:
        return Promise(text, happened, None, ())
    rate, low, high = (100 * value for value in (calibration.rate.value, *calibration.interval))
    end = 1.08 * max(high, high_seen, rate)
    tracks = (
        Track("promised", rate, low, high, end, "ink"),
        Track("on the test normals", seen, low_seen, high_seen, end, "normal"),
    )
    if low_seen > high:
        more = "That is more than promised, beyond chance: these clips differ from those it was calibrated on."
        return Promise(text, f"{happened} {more}", False, tracks)
    return Promise(text, f"{happened} That agrees with the promise as far as so many clips can tell.", True, tracks)


def hindsight(evaluation: ClipEvaluation) -> str | None:
    """What the best threshold would have done, and that nobody could have known it; None without both kinds."""
    found = evaluation.hindsight
    if found is None:
        return None
    return (
        f"Best by hindsight: {score(found.threshold)} would keep {percent(found.kept)} of the normal and catch "
        f"{percent(found.caught)} of the anomalous clips tested on. It was chosen with their labels in hand, which "
        "nobody has beforehand: it measures how well scores separate and is no threshold to run by."
    )


def _few(calibration: Calibration) -> list[str]:
    """That few clips promise little; nothing where they promise what is usual."""
    if calibration.explicit or calibration.rate.value <= DEFAULT_RATE * 1.0001:
        return []
    number, worth = len(calibration.scores), math.floor(calibration.effective + 1e-9)
    resemble = f", worth {worth} as some are of one original" if worth < number else ""
    return [
        f"The threshold rests on {counted(number, 'normal clip', 'normal clips')} kept back for it{resemble}: so "
        f"few can promise no less than {percent(calibration.rate.value)} false alarms. It takes {normals_needed(0.05)} "
        f"for 5 %, {normals_needed(DEFAULT_RATE)} for 1 %."
    ]


def _figure(row: PartRow, title: str, colour: str) -> Figure:
    right = row.right
    assert right is not None
    note = f"{right.count:,} of {counted(right.of, 'clip', 'clips')}; 95 % interval {interval(right)}"
    return Figure(title, hundred(right.per_100), "per 100", note, colour)
