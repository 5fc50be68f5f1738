"""Parts of the picture that count, or do not: scores pooled again from their maps. Pure numpy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from offnormal.config.model import VerbConfig
from offnormal.data.images import compute_placement
from offnormal.errors import ConfigError
from offnormal.types import InputSpec, Pooling, Scores

_FORM = "expected 3 points or more as x,y from 0 to 1, such as '0.1,0.2 0.9,0.2 0.5,0.8'"


class Zone(VerbConfig):
    """A polygon over the picture; inside is what an odd number of its edges surround."""

    points: list[tuple[float, float]] = Field(min_length=3)
    """x and y of the corners, 0-1 from the left and the top of the picture."""
    kind: Literal["include", "exclude"] = "include"
    """include: only what lies in such a zone counts; exclude: what lies in it does not, whatever else it lies in."""
    name: str = ""

    @field_validator("points")
    @classmethod
    def _relative(cls, value: list[tuple[float, float]]) -> list[tuple[float, float]]:
        if not all(0 <= x <= 1 and 0 <= y <= 1 for x, y in value):
            raise ValueError(f"points outside the picture; {_FORM}")
        if len(set(value)) < 3:
            raise ValueError(f"a polygon of {len(set(value))} different points; {_FORM}")
        return value

    @classmethod
    def parse(cls, text: str) -> Zone:
        """Read `0.1,0.2 0.9,0.2 0.5,0.8`, with `exclude:` or `include:` before it; ConfigError for anything else."""
        kind, colon, corners = text.rpartition(":")
        try:
            points = [tuple(float(number) for number in corner.split(",")) for corner in corners.split()]
            return cls.model_validate({"points": points, **({"kind": kind} if colon else {})})
        except ValueError:
            raise ConfigError(f"zone {text!r}: {_FORM}, with 'exclude:' before it to leave that area out") from None


@dataclass(frozen=True, slots=True, eq=False)
class ZonedPooling:
    """Pools maps again over the pixels that count; made once for a camera by `zoned_pooling`."""

    kept: np.ndarray  # (H, W) bool at input size
    pooling: Pooling

    def rescore(self, scores: Scores) -> Scores:
        """Scores by the kept pixels of each map alone; outside them a map has its lowest value."""
        if scores.map is None or scores.map.shape[1:] != self.kept.shape:
            found = None if scores.map is None else scores.map.shape[1:]
            raise ConfigError(f"zones made for maps of {self.kept.shape}, got {found}: make them for this detector")
        low = scores.map.min(axis=(1, 2), initial=np.inf)
        maps = np.where(self.kept, scores.map, low[:, None, None])
        return Scores(pool_pixels(scores.map[:, self.kept], self.pooling), maps, scores.terms, scores.recalled)


def zoned_pooling(
    zones: Sequence[Zone],
    *,
    spec: InputSpec,
    size: tuple[int, int],
    pooling: Pooling | None,
    detector: str,
    ignored: np.ndarray | None = None,
) -> ZonedPooling:
    """How scores come out of maps by some zones alone.

    size: (H, W) of the camera's pictures, which says how they lie in the input. pooling: of the detector; None: its
    score is not pooled from a map. ignored: (H, W) bool, pixels that the detector never counts.
    Raises ConfigError where the score is not pooled from a map, and where no pixel would be left.
    """
    if pooling is None:
        raise ConfigError(
            f"zones with {detector}: its score does not come out of its map, so that no part of the picture can be "
            "left out of it; mask the region (it is then painted over in fit and calibrate, too), or fit a detector "
            "that pools a map, such as padim"
        )
    kept = _kept_pixels(zones, spec, size)
    if ignored is not None:
        kept &= ~ignored
    if not kept.any():
        raise ConfigError(
            f"{len(zones)} zones leave no pixel of the detector's map ({spec.size[0]} x {spec.size[1]}) over: enlarge "
            "the included ones or shrink the excluded ones"
        )
    return ZonedPooling(kept, pooling)


def _kept_pixels(zones: Sequence[Zone], spec: InputSpec, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool at input size: pixels whose center shows a part of the picture that counts."""
    height, width = spec.size
    placed = compute_placement(size, spec)
    x = (np.arange(width) + placed.left + 0.5) / placed.scaled[1]
    y = (np.arange(height) + placed.top + 0.5) / placed.scaled[0]
    inside = ((x >= 0) & (x <= 1))[None, :] & ((y >= 0) & (y <= 1))[:, None]
    included = [_covered(zone, x, y) for zone in zones if zone.kind == "include"]
    kept = inside & np.logical_or.reduce(included) if included else inside
    for zone in zones:
        if zone.kind == "exclude":
            kept &= ~_covered(zone, x, y)
    return kept


def pool_pixels(values: np.ndarray, pooling: Pooling) -> np.ndarray:
    """(R,) float32 scores of (R, P) pixels, as detectors pool their maps."""
    if pooling.method == "max":
        return np.asarray(values.max(1), np.float32)
    if pooling.method == "top":
        count = max(1, round(pooling.share * values.shape[1]))
        values = np.partition(values, values.shape[1] - count, axis=1)[:, -count:]
    return np.asarray(values.mean(1, dtype=np.float64), np.float32)


def conditions_hash(zones: Sequence[Zone], masks: object = ()) -> str | None:
    """What a calibration belongs to besides its bundle: 12 characters of zones and masks; None: the whole picture.

    masks: the privacy masks as plain values for JSON.
    """
    if not zones and not masks:
        return None
    shapes = [[zone.kind, [list(point) for point in zone.points]] for zone in zones]
    return hashlib.sha256(json.dumps([sorted(shapes), masks], sort_keys=True).encode()).hexdigest()[:12]


def _covered(zone: Zone, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(H, W) bool: whether points at columns x (W,) and rows y (H,) lie in a polygon, by crossings to the left."""
    odd = np.zeros((len(y), len(x)), np.bool_)
    for (x0, y0), (x1, y1) in zip(zone.points, [*zone.points[1:], zone.points[0]], strict=True):
        rows = (y0 > y) != (y1 > y)
        if rows.any():
            crossing = x0 + (y[rows] - y0) * (x1 - x0) / (y1 - y0)
            odd[rows] ^= crossing[:, None] < x[None, :]
    return odd
