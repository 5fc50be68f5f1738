"""A calibration: threshold, pixel threshold, and p-values, computed from normal scores alone."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from offnormal.calibration.guarantee import (
    count_events,
    effective_sample_size,
    order_statistic,
    rate_interval,
    smallest_rate,
)
from offnormal.errors import CalibrationError, ConfigError, rounded, score_text
from offnormal.metrics.clock import Clock
from offnormal.sources.privacy import parse_mask
from offnormal.types import Mask, Rate, Verdict

DEFAULT_RATE = 0.01
Kind = Literal["held_out", "leave_one_out", "leave_group_out"]
_BASIS: dict[Kind, str] = {
    "held_out": "{count} held-out normal {units}",
    "leave_one_out": "leave-one-out on {count} training {units}",
    "leave_group_out": "leave-one-{group}-out on {count} training {units}",
}
_GROUPS = {"image": "lot", "clip": "original"}  # of frames: video
_PER: dict[str, Literal["image", "frame", "clip"]] = {"images": "image", "frames": "frame", "clips": "clip"}
_MIN_P_VALUE = 1e-12  # smaller extrapolations mean nothing
_TAIL_SHARE = 0.1  # the mean excess of this share of the highest scores sets the decay beyond the highest
_MIN_TAIL = 5
_ALWAYS_STORED = ("by_hand", "block_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Thresholds for one bundle and one setup, stored in calibration.json."""

    kind: Kind
    rate: Rate
    explicit: bool  # whether the user set this rate
    threshold: float  # a higher score is anomalous; never NaN; set by hand where `by_hand`
    pixel_threshold: float | None  # of the map; the rate counts images with any pixel above it
    interval: tuple[float, float]  # 95 % confidence interval of the true rate; in time: of the next count
    effective: float  # effective sample size of the scores
    rank: float  # the threshold is the rank-th highest of `effective` scores; in time: 1 + events or incidents above it
    groups: int  # number of groups; 0: unknown
    scores: tuple[float, ...]  # normal scores, ascending
    bundle: str  # hash of the bundle that computed the scores
    created: str  # UTC, ISO 8601
    by_hand: bool = False
    mask: Mask | None = None  # privacy mask of the normal data; None: that of the bundle
    block_s: float | None = None  # seconds of footage per independent score; None: no times
    dispersion: float | None = None  # of incidents, see `incident_rate`; None: not a rate in time
    confidence: float | None = None  # percent, that the mean rate of incidents is at most `rate`; None: expected
    contents: tuple[str, ...] = ()  # keys of the bytes of the normal data, see `content_keys`; (): training data

    @property
    def explanation(self) -> str:
        """The guarantee in one sentence: rate, confidence interval, and data."""
        if self.by_hand:
            return f"threshold {score_text(self.threshold)} set by hand: no guarantee"
        low, high = (0.0 if bound < 1e-5 else bound for bound in self.interval)
        unit = self.rate.per if self.rate.is_share else "frame"
        count = len(self.scores)
        units, group = f"{unit}{'' if count == 1 else 's'}", _GROUPS.get(unit, "video")
        basis = _BASIS[self.kind].format(count=count, units=units, group=group)
        if not self.rate.is_share:
            kind = "expected" if self.confidence is None else f"with {self.confidence:g} % confidence, mean"
            when = "on the next day" if self.rate.per == "day" else f"in the next {self.rate.per}"
            later = f"{math.ceil(low)}-{math.floor(high)} {when}, 95 %"
            return f"{kind} false-alarm rate: at most {self.rate}, counted in incidents ({later}), {basis}"
        bounds = f"{rounded(low * 100, 2)}-{rounded(high * 100, 2)} %"
        return f"expected false-alarm rate: at most {self.rate.value * 100:.3g} % (95 % CI {bounds}), {basis}"

    @property
    def id(self) -> str:
        """sha256 of the content, first 12 characters."""
        return hashlib.sha256(json.dumps(self._plain(), sort_keys=True).encode()).hexdigest()[:12]

    def verdict(self, score: float) -> Verdict:
        """Decide on one raw score, with its p-value."""
        return Verdict(score, float(self.p_value(np.array([score]))[0]), self.threshold, score > self.threshold)

    def p_value(self, scores: np.ndarray) -> np.ndarray:
        """P-values (R,) of `scores` (R,): the chance that a normal unit scores at least as high.

        Up to the highest of the n normal scores, this is the conformal p-value (1 + number at least as high) / (n + 1).
        Beyond it, the p-value is extrapolated with the predictive tail (1 + x / (m d))^-m of an exponential
        distribution. Its mean d is estimated from the m excesses of the highest tenth; fewer excesses give a heavier
        tail. A score above the threshold of a rate has a p-value of at most that rate.
        """
        normals = np.asarray(self.scores)
        n = len(normals)
        higher = n - np.searchsorted(normals, scores, side="left")
        probability = (1 + higher) / (n + 1)
        top = min(n - 1, max(_MIN_TAIL, int(np.ceil(_TAIL_SHARE * n))))
        excess = float((normals[-top:] - normals[-top - 1]).mean()) if top else 0.0
        scale = max(excess, 1e-6 * max(abs(float(normals[-1])), 1e-12)) * max(top, 1)
        beyond = np.maximum(np.asarray(scores, dtype=np.float64) - normals[-1], 0)
        return np.asarray(np.maximum(probability * (1 + beyond / scale) ** -max(top, 1), _MIN_P_VALUE))

    def with_threshold(self, threshold: float) -> Calibration:
        """Copy with a threshold set by hand and no guarantee."""
        is_map_maximum = self.pixel_threshold == self.threshold  # the score is the maximum of the map
        pixel_threshold = threshold if is_map_maximum else self.pixel_threshold
        return replace(self, threshold=threshold, pixel_threshold=pixel_threshold, by_hand=True)

    def summary(self) -> dict[str, object]:
        """Values that results store about the calibration."""
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
        """Convert to plain values for calibration.json."""
        return {**self._plain(), "id": self.id}

    def _plain(self) -> dict[str, object]:
        """Plain values, without those that have their default: so a new field changes no stored id."""
        defaults = {field.name: field.default for field in fields(self) if field.name not in _ALWAYS_STORED}
        return {key: value for key, value in asdict(self).items() if value != defaults.get(key, MISSING)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Calibration:
        """Read the values of `to_json`; CalibrationError for a missing or unknown key, or an edited value."""
        stored = dict(values)
        identity = stored.pop("id", None)
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        if wrong := (needed - set(stored)) | (set(stored) - {field.name for field in fields(cls)}):
            names = sorted(map(str, wrong))
            raise CalibrationError(f"calibration: keys {names} are missing or unknown; calibrate again")
        try:
            stored |= {key: tuple(stored[key]) for key in ("interval", "scores", "contents") if key in stored}
            stored["rate"] = Rate(**stored["rate"])
            stored["mask"] = parse_mask(stored["mask"]) if stored.get("mask") is not None else None
            calibration = cls(**stored)
            is_unchanged = calibration.id == identity
        except (TypeError, ValueError, AttributeError, LookupError, ConfigError) as error:
            raise CalibrationError(f"damaged calibration ({error}); calibrate again") from None
        if not is_unchanged:
            raise CalibrationError("the calibration was edited after it was written; calibrate again")
        return calibration


def calibrate_scores(
    scores: np.ndarray,
    peaks: np.ndarray | None,
    *,
    rate: Rate | None,
    kind: Kind,
    bundle: str,
    groups: Sequence[str | None] = (),
    units: Literal["images", "frames", "clips"] = "images",
    times_s: np.ndarray | None = None,
) -> Calibration:
    """Compute the threshold of normal scores (n,) for a rate; None: the smallest possible rate, but at least 1 %.

    peaks: (n,) maximum of each map, for the pixel threshold. units: what got the scores.
    times_s: (n,) seconds of frames, rising within a group; without them, a share of frames cannot be checked later.
    Raises CalibrationError for a rate that cannot be guaranteed and for scores that are not finite.
    """
    n = len(scores)
    if rate is not None and not rate.is_share:
        raise CalibrationError(f"a rate of {rate} needs footage with a clock; set a share of {units} such as 0.01")
    if n == 0 or not np.isfinite(scores).all():
        raise CalibrationError(
            f"{int(np.isfinite(scores).sum())} of {n} normal scores are finite; expected at least one score, all finite"
        )
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    effective = effective_sample_size(np.asarray(scores, dtype=np.float64), groups)
    target = rate.value if rate is not None else max(DEFAULT_RATE, smallest_rate(effective))
    k = order_statistic(n, target, effective, units)
    threshold = float(ordered[k - 1])
    rank, block_s = effective + 1 - k * effective / n, None
    series = [] if times_s is None else _series(times_s, groups)
    clocks = [] if times_s is None else [Clock.from_times(times_s[rows]) for rows in series]
    if length_s := sum(clock.seconds or 0.0 for clock in clocks):
        block_s = length_s / effective
        events = sum(
            count_events(clock.footage_s[scores[rows] > threshold], block_s)
            for rows, clock in zip(series, clocks, strict=True)
        )
        rank = min(1.0 + events, effective)
    return Calibration(
        kind=kind,
        rate=Rate(target, _PER[units]),
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
    """Rows (n_i,) of runs of frames of one group with rising times."""
    names = np.asarray(groups) if len(groups) else np.zeros(len(times_s))
    starts = np.flatnonzero((names[1:] != names[:-1]) | (np.diff(times_s) <= 0)) + 1
    return np.split(np.arange(len(times_s)), starts)
