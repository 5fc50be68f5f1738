"""How raw scores become p-values and verdicts: by a calibration, or by a threshold set by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from offnormal.calibration.calibration import Calibration
from offnormal.events.machine import low_threshold


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """The threshold in force; a score above it is anomalous."""

    calibration: Calibration | None
    threshold: float | None  # None: nothing decides

    @classmethod
    def of(cls, calibration: Calibration | None, by_hand: float | None = None) -> Self:
        """By a calibration; by_hand: a threshold that replaces the calibrated one and carries no guarantee."""
        if calibration is not None and by_hand is not None:
            calibration = calibration.with_threshold(by_hand)
        return cls(calibration, by_hand if calibration is None else calibration.threshold)

    @property
    def pixel_threshold(self) -> float | None:
        """The threshold of maps; None: not calibrated."""
        return None if self.calibration is None else self.calibration.pixel_threshold

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """(R,) p-values of scores (R,); NaN for a NaN score, and everywhere without a calibration."""
        p_values = np.full(len(scores), np.nan)
        scored = ~np.isnan(scores)
        if self.calibration is not None and scored.any():
            p_values[scored] = self.calibration.p_value(scores[scored].astype(np.float64))
        return p_values

    def verdicts(self, scores: np.ndarray) -> np.ndarray:
        """(R,) 0 normal, 1 anomalous; NaN for a NaN score, and everywhere without a threshold."""
        if self.threshold is None:
            return np.full(len(scores), np.nan)
        return np.where(np.isnan(scores), np.nan, scores.astype(np.float64) > self.threshold)

    def low_threshold(self, hysteresis: float) -> float | None:
        """Where an alarm ends; see `events.machine.low_threshold`; the threshold itself where normals are unknown."""
        if self.threshold is None or self.calibration is None:
            return self.threshold
        return low_threshold(self.threshold, float(np.median(self.calibration.scores)), hysteresis)
