"""What predicting pictures and predicting clips share: scores of a bundle become verdicts at the threshold in force."""

from __future__ import annotations

from collections.abc import Callable

from offnormal.bundle import Bundle
from offnormal.config.score import PredictConfig
from offnormal.data.dataset import Skipped
from offnormal.scoring import Scorer, choose_device
from offnormal.types import Verdict
from offnormal.verbs.loading import input_of


class Judging:
    """A bundle ready to judge as configured; `skipped` lists what could not be read."""

    def __init__(
        self, bundle: Bundle, config: PredictConfig, progress: Callable[[str, int, int], None] | None = None
    ) -> None:
        self.bundle = bundle
        self.config = config
        self.progress = progress
        self.calibration = bundle.calibration
        if bundle.calibration is not None and config.threshold is not None:
            self.calibration = bundle.calibration.with_threshold(config.threshold)
        self.skipped: list[Skipped] = []
        self.input = input_of(bundle, config.mask)
        self.scorer = Scorer(bundle.detector, choose_device(config.device, config.threads))

    def verdict(self, score: float) -> Verdict:
        """By the calibration; without one only a threshold given by hand decides."""
        if self.calibration is not None:
            return self.calibration.verdict(score)
        by_hand = self.config.threshold
        return Verdict(score, None, by_hand, None if by_hand is None else score > by_hand)

    def counter(self, total: int) -> Callable[[int], None]:
        """Tells the progress of what is counted by it."""
        done = 0

        def count(step: int) -> None:
            nonlocal done
            done += step
            if self.progress is not None:
                self.progress("predict", done, max(done, total))

        return count
