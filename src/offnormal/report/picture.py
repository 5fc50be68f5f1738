"""A picture chosen for the report, with its map and mask at its own size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from offnormal.evaluation import ScoredImage

Role = Literal["miss", "false_alarm", "caught"]


@dataclass(frozen=True, slots=True)
class Picture:
    """One scored picture as it is shown."""

    role: Role
    row: ScoredImage
    image: np.ndarray  # (H, W, 3) uint8
    map: np.ndarray | None  # (H, W) float32 at the picture's size; None when the method has no map
    mask: np.ndarray | None  # (H, W) bool, marked defects
    reconstruction: np.ndarray | None = None  # (H, W, 3) uint8, by detectors that make one
