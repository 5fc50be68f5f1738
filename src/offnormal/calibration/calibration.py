"""A calibration: threshold, pixel threshold and p-value, learned from scores of normal samples alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from offnormal.calibration.guarantee import (
    count_events,
    effective_number,
    order_statistic,
    rate_interval,
    smallest_rate,
)
from offnormal.errors import CalibrationError
from offnormal.sources.privacy import parse_mask
from offnormal.types import Mask, Rate, Verdict

DEFAULT_RATE = 0.01
Kind = Literal["held_out", "leave_one_out", "leave_group_out"]
_EXPLAINED: dict[Kind, str] = {
    "held_out": "normal {things} that the detector has not learned from",
    "leave_one_out": "training {things}, each scored with itself left out; {things} of another day may score higher",
    "leave_group_out": "training {things}, each scored with its whole {group} left out",
}
_THINGS = {"image": ("images", "group"), "frame": ("frames", "video or stretch"), "clip": ("clips", "original")}
_PER: dict[str, Literal["image", "frame", "clip"]] = {"images": "image", "frames": "frame", "clips": "clip"}
_TAIL_FLOOR = 1e-12  # below it an extrapolation says nothing
_TAIL_SHARE = 0.1  # of the highest normal scores, whose mean excess sets the decay beyond the highest
_TAIL_LEAST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Thresholds for one bundle and one input configuration; a file of its own."""

    kind: Kind
    rate: Rate
    explicit: bool  # whether the user asked for this rate
    threshold: float  # a score above it is anomalous; NaN-free; by hand where `by_hand`
    pixel_threshold: float | None  # on the map; the rate is of images with any pixel above it
    interval: tuple[float, float]  # 95 % interval of the realized rate
    effective: float  # how many independent normals the scores are worth
    rank: float  # the threshold is the rank-th highest of so many; for frames with times 1 + the events above it
    groups: int  # number of groups among them, 0 where unknown
    scores: tuple[float, ...]  # sorted scores of the normals
    bundle: str  # hash of the bundle that gave them
    created: str  # UTC, ISO 8601
    by_hand: bool = False
    mask: Mask | None = None  # privacy mask that the normals were seen through; None: that of the bundle
    block_s: float | None = None  # seconds of footage that count as one independent normal; None: no times

    @property
    def explanation(self) -> str:
        """One sentence: what the rate is, what it rests on and how sure it is."""
        if self.by_hand:
            return f"threshold {self.threshold:.6g} set by hand: no false-alarm rate is guaranteed"
        low, high = (0.0 if bound < 1e-5 else bound for bound in self.interval)
        things, group = _THINGS.get(self.rate.per, _THINGS["frame"])
        basis = f"{len(self.scores)} {_EXPLAINED[self.kind].format(things=things, group=group)}"
        if self.rate.is_share:
            bounds = f"95 % interval {low * 100:.2g}-{high * 100:.2g} %"
            return f"on average at most {self.rate} called anomalous ({bounds}), from {basis}"
        bounds = f"95 % interval {low:.2g}-{high:.2g} per {self.rate.per}"
        return f"on average at most {self.rate} with a false alarm ({bounds}), from {basis}"

    @property
    def id(self) -> str:
        """sha256 of the content, first 12 characters."""
        return hashlib.sha256(json.dumps(self._plain(), sort_keys=True).encode()).hexdigest()[:12]

    def verdict(self, score: float) -> Verdict:
        """The decision on one raw score, with its p-value."""
        return Verdict(score, float(self.p_value(np.array([score]))[0]), self.threshold, score > self.threshold)

    def p_value(self, scores: np.ndarray) -> np.ndarray:
        """Chance (R,) that a normal sample scores at least as high as each of `scores` (R,); small = surely off.

        Within the normals' range the conformal p-value (1 + number at least as high) / (n + 1). Beyond the highest
        an extrapolation: the predictive tail (1 + x / (m d))^-m of an exponential law whose mean d was estimated
        from the m excesses of the highest tenth, heavier the fewer they are.
        A score above the order statistic of a rate has a value of at most that rate.
        """
        normals = np.asarray(self.scores)
        n = len(normals)
        higher = n - np.searchsorted(normals, scores, side="left")
        probability = (1 + higher) / (n + 1)
        top = min(n - 1, max(_TAIL_LEAST, int(np.ceil(_TAIL_SHARE * n))))
        excess = float((normals[-top:] - normals[-top - 1]).mean()) if top else 0.0
        scale = max(excess, 1e-6 * max(abs(float(normals[-1])), 1e-12)) * max(top, 1)
        beyond = np.maximum(np.asarray(scores, dtype=np.float64) - normals[-1], 0)
        return np.asarray(np.maximum(probability * (1 + beyond / scale) ** -max(top, 1), _TAIL_FLOOR))

    def with_threshold(self, threshold: float) -> Calibration:
        """The same with a threshold set by hand, which guarantees nothing."""
        same = self.pixel_threshold == self.threshold  # the score is the highest value of the map
        pixel_threshold = threshold if same else self.pixel_threshold
        return replace(self, threshold=threshold, pixel_threshold=pixel_threshold, by_hand=True)

    def summary(self) -> dict[str, object]:
        """What a result says of the calibration it was decided by."""
        return {
            "id": self.id,
            "kind": self.kind,
            "rate": asdict(self.rate),
            "interval": self.interval,
            "threshold": self.threshold,
            "pixel_threshold": self.pixel_threshold,
            "normals": len(self.scores),
            "median_score": float(np.median(self.scores)),
        }

    def to_json(self) -> dict[str, object]:
        """Plain values for calibration.json."""
        return {**self._plain(), "id": self.id}

    def _plain(self) -> dict[str, object]:
        """Without what calibrations from before masks do not have."""
        return {key: value for key, value in asdict(self).items() if key != "mask" or value is not None}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Calibration:
        """The calibration of `to_json`; CalibrationError when a key is missing, unknown or was changed."""
        stored = dict(values)
        identity = stored.pop("id", None)
        known = {field.name for field in fields(cls)}
        stored.setdefault("mask", None)
        if set(stored) != known:
            raise CalibrationError(f"calibration with keys {sorted(set(stored) ^ known)} missing or unknown")
        stored["rate"] = Rate(**stored["rate"])
        stored["interval"] = tuple(stored["interval"])
        stored["mask"] = None if stored["mask"] is None else parse_mask(stored["mask"])
        stored["scores"] = tuple(stored["scores"])
        calibration = cls(**stored)
        if calibration.id != identity:
            raise CalibrationError("the calibration was changed after it was written; calibrate again")
        return calibration


def calibrate_scores(
    scores: np.ndarray,
    peaks: np.ndarray | None,
    *,
    rate: Rate | None,
    kind: Kind,
    bundle: str,
    groups: Sequence[str | None] = (),
    things: Literal["images", "frames", "clips"] = "images",
    times_s: np.ndarray | None = None,
) -> Calibration:
    """Threshold of (n,) scores of normals at a rate; None: the smallest that can be guaranteed, down to 1 %.

    peaks: (n,) highest value of each normal's map, for the pixel threshold. things: what the scores are of.
    times_s: (n,) of frames, rising within a group; without them a share of frames cannot be checked later.
    Raises CalibrationError when a stated rate cannot be guaranteed or the scores are not finite.
    """
    n = len(scores)
    if rate is not None and not rate.is_share:
        raise CalibrationError(f"a rate of {rate} needs footage with a clock; give a share of {things} such as 0.01")
    if n == 0 or not np.isfinite(scores).all():
        raise CalibrationError(
            f"{n} normal scores, of which {int(np.isfinite(scores).sum())} are finite: none can be used"
        )
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    effective = effective_number(np.asarray(scores, dtype=np.float64), groups)
    target = rate.value if rate is not None else max(DEFAULT_RATE, smallest_rate(effective))
    k = order_statistic(n, target, effective, things)
    threshold = float(ordered[k - 1])
    rank, block_s = effective + 1 - k * effective / n, None
    series = [] if times_s is None else _series(times_s, groups)
    if times_s is not None and (length_s := sum(_length_s(times_s[rows]) for rows in series)):
        block_s = length_s / effective
        events = sum(count_events(times_s[rows][scores[rows] > threshold], block_s) for rows in series)
        rank = min(1.0 + events, effective)
    return Calibration(
        kind=kind,
        rate=Rate(target, _PER[things]),
        explicit=rate is not None,
        threshold=threshold,
        pixel_threshold=None if peaks is None else float(np.sort(np.asarray(peaks, dtype=np.float64))[k - 1]),
        interval=rate_interval(effective, k * effective / n),
        effective=effective,
        rank=rank,
        block_s=block_s,
        groups=len({group for group in groups if group is not None}),
        scores=tuple(float(value) for value in ordered),
        bundle=bundle,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _series(times_s: np.ndarray, groups: Sequence[str | None]) -> list[np.ndarray]:
    """Rows (n_i,) of stretches of frames that follow each other: of one group, with times that rise."""
    names = np.asarray(groups) if len(groups) else np.zeros(len(times_s))
    starts = np.flatnonzero((names[1:] != names[:-1]) | (np.diff(times_s) <= 0)) + 1
    return np.split(np.arange(len(times_s)), starts)


def _length_s(times_s: np.ndarray) -> float:
    """Seconds that frames at these times (n,) show: the last one as long as they usually last."""
    spacings = np.diff(times_s)
    return float(spacings.sum() + np.median(spacings)) if len(spacings) else 0.0
