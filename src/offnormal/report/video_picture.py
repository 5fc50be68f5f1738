"""A frame chosen for the report of videos, with its map and mask at its own size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from offnormal.drawing.reconstruction import Reconstruction

FrameRole = Literal["false_alarm", "miss", "peak"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoPicture:
    """One scored frame as it is shown."""

    role: FrameRole
    video: str  # its name in the data set
    frame: int  # position in the video, from 0
    time_s: float | None  # None: no clock
    score: float  # raw, higher = more anomalous
    image: np.ndarray  # (H, W, 3) uint8
    map: np.ndarray | None = None  # (H, W) float32 at the picture's size; None when the method has no map
    mask: np.ndarray | None = None  # (H, W) bool, marked regions
    remade: Reconstruction | None = None  # the frame as the detector expects it; None: it says nothing of the kind
    label: int | None = None  # 0 normal, 1 anomalous, None unknown
