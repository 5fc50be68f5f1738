"""offnormal predict with a detector of whole clips: bundle x class folders or videos -> one verdict a clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from offnormal.config import PredictConfig
from offnormal.data.video_loader import VideoLoader
from offnormal.errors import UsageError
from offnormal.types import Item, Verdict
from offnormal.verbs.judging import Judging

_OF_FRAMES = ("annotate", "overlays", "every", "hold")


@dataclass(frozen=True, slots=True)
class ClipPrediction:
    """What is said of one clip."""

    video: Item
    verdict: Verdict


class ClipPredictor(Judging):
    """Goes over clips in order; `skipped` lists those that could not be read."""

    def over(self, videos: Sequence[Item]) -> Iterator[ClipPrediction]:
        """A prediction per readable clip, as soon as its batch is scored; nothing is kept."""
        by_path = {video.path: video for video in videos}
        loader = VideoLoader(
            videos,
            self.input,
            batch_size=self.config.batch_size,
            on_bad=self.config.on_bad,
            fps=self.config.fps,
            workers=self.config.workers,
            progress=self.counter(len(videos)),
        )
        for scored in self.scorer.over(loader):
            for sample, score in zip(scored.samples, scored.scores.score.tolist(), strict=True):
                yield ClipPrediction(by_path[sample.item.path], self.verdict(score))
        self.skipped = loader.skipped


def refuse_options_of_frames(config: PredictConfig) -> None:
    """UsageError for options that say something of single frames."""
    for option in _OF_FRAMES:
        if getattr(config, option) not in (None, False):
            raise UsageError(
                f"--{option} is about single frames, and this detector gives one score for a whole clip: leave it out"
            )
