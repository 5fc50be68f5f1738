"""The first figures of a report: what went wrong at the threshold, how well scores separate, what was promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from offnormal.calibration.calibration import Calibration
from offnormal.evaluation import HEADLINE, Evaluation
from offnormal.metrics.decision import Share
from offnormal.report import wording
from offnormal.report.wording import counted
from offnormal.types import ANOMALOUS, NORMAL

_MEANING = {
    "image_AUROC": "how often an anomalous picture scores above a normal one",
    "image_AP": "mean precision over all recalls",
    "image_F1": "best F1 of any threshold",
    "pixel_AUROC": "how often a marked pixel scores above an unmarked one",
    "pixel_AUPRO": "overlap with marked regions, up to 30 % false pixels",
    "pixel_F1": "best F1 of any threshold on pixels",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One headline metric, or why it is not there."""

    name: str
    value: float | None
    note: str


@dataclass(frozen=True, slots=True)
class Track:
    """A rate per 100 and its 95 % interval, to be drawn on one line; `end` is the axis's right end."""

    label: str
    rate: float
    low: float
    high: float
    end: float
    colour: str

    def percent(self, value: float) -> float:
        """Where a rate lies on the line, in per cent of its length."""
        return round(100 * min(value / self.end, 1.0), 2)


@dataclass(frozen=True, slots=True)
class Promise:
    """What the calibration promises and what happened on the test normals."""

    promised: str
    judgement: str
    kept: bool | None  # None: nothing to check it by
    tracks: tuple[Track, ...]


def tiles(evaluation: Evaluation) -> list[Tile]:
    """The headline metrics in their order; the missing ones with the reason."""
    return [tile(name, evaluation.metrics, evaluation.missing, _MEANING[name]) for name in HEADLINE]


def tile(name: str, metrics: Mapping[str, float], missing: Mapping[str, str], meaning: str) -> Tile:
    """A metric with what it means, or with the reason why it is not there."""
    if name in metrics:
        return Tile(name, metrics[name], meaning)
    kind = name.partition("_")[0]
    reason = missing.get(name) or missing.get(f"{kind} metrics")
    return Tile(name, None, reason or ("there is no map to measure" if kind == "pixel" else "not computed"))


def lead(evaluation: Evaluation) -> str:
    """One plain sentence: what happened to how many pictures."""
    calibration, counts = evaluation.calibration, evaluation.confusion
    number = counted(len(evaluation.rows), "picture", "pictures")
    if calibration is None:
        return f"{number} scored, without verdicts: the detector is not calibrated, so there is no threshold."
    above = sum(bool(row.anomalous) for row in evaluation.rows)
    threshold = wording.score(calibration.threshold)
    if counts is None:
        return f"{above:,} of {number} without labels score above the threshold {threshold}."
    good, bad = counts.true_normal + counts.false_alarm, counts.escape + counts.caught
    caught = f"{counts.caught:,} of {counted(bad, 'anomalous picture', 'anomalous pictures')} caught"
    alarms = f"{counted(counts.false_alarm, 'false alarm', 'false alarms')} on {good:,} normal"
    parts = [caught] * bool(bad) + [alarms] * bool(good)
    return f"At the threshold {threshold}: {', '.join(parts)}."


def promise(evaluation: Evaluation) -> Promise | None:
    """The promised rate beside the one that was seen; None without a calibration."""
    calibration = evaluation.calibration
    if calibration is None:
        return None
    text = promised(calibration)
    counts = evaluation.confusion
    seen = counts.false_alarms_per_100_good if counts is not None else None
    if seen is None or seen.per_100 is None:
        return Promise(text, "It holds no pictures labelled normal, so nothing can be said.", None, ())
    if calibration.by_hand or not calibration.rate.is_share:
        return Promise(text, _happened(seen), None, ())
    rate, low, high = (100 * value for value in (calibration.rate.value, *calibration.interval))
    end = 1.08 * max(high, seen.high, rate)
    tracks = (
        Track("promised", rate, low, high, end, "ink"),
        Track("on the test normals", seen.per_100, seen.low, seen.high, end, "normal"),
    )
    judgement, kept = _judged(seen, rate, high)
    return Promise(text, judgement, kept, tracks)


def promised(calibration: Calibration) -> str:
    """What a calibration promises, as a sentence."""
    return calibration.explanation[:1].upper() + calibration.explanation[1:] + "."


def labels_and_scores(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Labels (R,) int and scores (R,) of the pictures that have a label."""
    known = evaluation.labelled
    return (
        np.array([row.sample.label for row in known], dtype=np.int64),
        np.array([row.score for row in known], dtype=np.float64),
    )


def both_classes(evaluation: Evaluation) -> bool:
    """Whether there are normal and anomalous pictures, so that curves can be drawn."""
    return {NORMAL, ANOMALOUS} <= {row.sample.label for row in evaluation.rows}


def _judged(seen: Share, rate: float, high: float) -> tuple[str, bool]:
    happened = _happened(seen)
    if seen.low > high:
        return (
            f"{happened} That is more than promised, beyond chance: these normals differ from those it was "
            "calibrated on. Calibrate again with normals of the same days and lots.",
            False,
        )
    if seen.low > rate:
        return (
            f"{happened} That is probably more than promised: these normals seem to differ from those it was "
            "calibrated on. More normals of the same days and lots would tell.",
            False,
        )
    return f"{happened} That agrees with the promise as far as so many pictures can tell.", True


def _happened(seen: Share) -> str:
    return (
        f"{seen.count:,} of {seen.of:,} normal test pictures were called anomalous: "
        f"{wording.hundred(seen.per_100)} per 100 (95 % interval {wording.interval(seen)})."
    )
