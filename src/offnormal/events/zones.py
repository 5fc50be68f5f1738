"""Zones: pool scores again from the included areas of their maps. Pure numpy."""

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

_EXPECTED = "expected 3 points or more as x,y from 0 to 1, such as '0.1,0.2 0.9,0.2 0.5,0.8'"


class Zone(VerbConfig):
    """A polygon on the image; a point is inside by the even-odd rule."""

    points: list[tuple[float, float]] = Field(min_length=3)
    """x and y of the corners, 0-1 from the left and top of the image."""
    kind: Literal["include", "exclude"] = "include"
    """include: score only pixels in such zones; exclude: score no pixel in it, even if it is also included."""
    name: str = ""

    @field_validator("points")
    @classmethod
    def _relative(cls, value: list[tuple[float, float]]) -> list[tuple[float, float]]:
        if not all(0 <= x <= 1 and 0 <= y <= 1 for x, y in value):
            raise ValueError(f"points outside the image; {_EXPECTED}")
        if len(set(value)) < 3:
            raise ValueError(f"{len(set(value))} different points are not a polygon; {_EXPECTED}")
        return value

    @classmethod
    def parse(cls, text: str) -> Zone:
        """Read `0.1,0.2 0.9,0.2 0.5,0.8`, with `exclude:` or `include:` before it; ConfigError for anything else."""
        kind, colon, corners = text.rpartition(":")
        try:
            points = [tuple(float(number) for number in corner.split(",")) for corner in corners.split()]
            return cls.model_validate({"points": points, **({"kind": kind} if colon else {})})
        except ValueError:
            raise ConfigError(f"zone {text!r}: {_EXPECTED}, with 'exclude:' before it to exclude the area") from None


@dataclass(frozen=True, slots=True, eq=False)
class ZonedPooling:
    """Pools maps again over the included pixels; created once per camera by `zoned_pooling`."""

    included: np.ndarray  # (H, W) bool at input size
    pooling: Pooling

    def rescore(self, scores: Scores) -> Scores:
        """Scores by the included pixels of each map; all other pixels get the map's lowest value."""
        if scores.map is None or scores.map.shape[1:] != self.included.shape:
            shape = None if scores.map is None else scores.map.shape[1:]
            raise ConfigError(f"maps of {shape}, but the zones are for {self.included.shape}: use the same detector")
        low = scores.map.min(axis=(1, 2), initial=np.inf)
        maps = np.where(self.included, scores.map, low[:, None, None])
        return Scores(pool_pixels(scores.map[:, self.included], self.pooling), maps, scores.terms, scores.recalled)


def zoned_pooling(
    zones: Sequence[Zone],
    *,
    spec: InputSpec,
    size: tuple[int, int],
    pooling: Pooling | None,
    detector: str,
    ignored: np.ndarray | None = None,
) -> ZonedPooling:
    """The pooling of a camera's maps over its zones.

    size: (H, W) of the camera's frames, which determines their position in the input. pooling: of the detector; None:
    its score is not pooled from a map. ignored: (H, W) bool, pixels that the detector never scores.
    Raises ConfigError if the score is not pooled from a map, and if the zones include no pixel.
    """
    if pooling is None:
        raise ConfigError(
            f"zones with {detector}: its score is not pooled from its map, so no area can be excluded; use a privacy "
            "mask (also in fit and calibrate), or a detector that pools a map, such as padim"
        )
    included = _included_pixels(zones, spec, size)
    if ignored is not None:
        included &= ~ignored
    if not included.any():
        raise ConfigError(
            f"the zones include no pixel of the detector's {spec.size[0]}x{spec.size[1]} map: enlarge the included "
            "zones or shrink the excluded ones"
        )
    return ZonedPooling(included, pooling)


def _included_pixels(zones: Sequence[Zone], spec: InputSpec, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool at input size: pixels with their midpoint in an included area of the image."""
    height, width = spec.size
    placed = compute_placement(size, spec)
    x = (np.arange(width) + placed.left + 0.5) / placed.scaled[1]
    y = (np.arange(height) + placed.top + 0.5) / placed.scaled[0]
    inside = ((x >= 0) & (x <= 1))[None, :] & ((y >= 0) & (y <= 1))[:, None]
    areas = [_inside(zone, x, y) for zone in zones if zone.kind == "include"]
    included = inside & np.logical_or.reduce(areas) if areas else inside
    for zone in zones:
        if zone.kind == "exclude":
            included &= ~_inside(zone, x, y)
    return included


def pool_pixels(values: np.ndarray, pooling: Pooling) -> np.ndarray:
    """(R,) float32 scores of (R, P) pixels, as detectors pool their maps."""
    if pooling.method == "max":
        return np.asarray(values.max(1), np.float32)
    if pooling.method == "top":
        count = max(1, round(pooling.share * values.shape[1]))
        values = np.partition(values, values.shape[1] - count, axis=1)[:, -count:]
    return np.asarray(values.mean(1, dtype=np.float64), np.float32)


def hash_setup(zones: Sequence[Zone], masks: object = ()) -> str | None:
    """A hash of zones and masks, to which a calibration belongs; 12 characters. None: the whole image.

    masks: the privacy masks as plain values for JSON.
    """
    if not zones and not masks:
        return None
    shapes = [[zone.kind, [list(point) for point in zone.points]] for zone in zones]
    return hashlib.sha256(json.dumps([sorted(shapes), masks], sort_keys=True).encode()).hexdigest()[:12]


def _inside(zone: Zone, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(H, W) bool: whether points at columns x (W,) and rows y (H,) are in a polygon, by crossings to the left."""
    odd = np.zeros((len(y), len(x)), np.bool_)
    for (x0, y0), (x1, y1) in zip(zone.points, [*zone.points[1:], zone.points[0]], strict=True):
        rows = (y0 > y) != (y1 > y)
        if rows.any():
            crossing = x0 + (y[rows] - y0) * (x1 - x0) / (y1 - y0)
            odd[rows] ^= crossing[:, None] < x[None, :]
    return odd
