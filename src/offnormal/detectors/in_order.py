"""Stateful detectors over clips in order: every video is a stream with a state of its own."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from offnormal.detectors.base import StatefulDetector
from offnormal.types import Output


class InOrder:
    """Scores clip after clip by `step`; a new video begins with the initial state, unless the state is carried over."""

    def __init__(self, detector: StatefulDetector) -> None:
        self.detector = detector
        self._video: Hashable = None
        self._state: Tensor | None = None

    def score(self, x: Tensor, videos: Sequence[Hashable]) -> Output:
        """The output for pixels (N, ...) that follow those of the call before; videos: the one that each is of."""
        found = [self._one(clip[None], video) for clip, video in zip(x, videos, strict=True)]
        maps = [output.map for output in found if output.map is not None]
        return Output(
            score=torch.cat([output.score for output in found]),
            map=torch.cat(maps) if maps else None,
            parts={name: torch.cat([output.parts[name] for output in found]) for name in found[0].parts},
        )

    def restart(self) -> None:
        """Let what comes next be of another video, unless the state is carried over."""
        if not self.detector.carries_over:
            self._state = None

    def _one(self, clip: Tensor, video: Hashable) -> Output:
        if video != self._video:
            self.restart()
        if self._state is None:
            self._state = self.detector.initial_state()
        self._video = video
        output, self._state = self.detector.step(clip, self._state)
        return output
