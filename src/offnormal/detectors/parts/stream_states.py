"""Scoring with stateful detectors: every video or camera is a stream with its own state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from offnormal.detectors.base import StatefulDetector
from offnormal.types import Output


class SequentialStreams:
    """Scores clips one by one with `step`; a new video starts from the initial state, unless the state carries over."""

    def __init__(self, detector: StatefulDetector) -> None:
        self.detector = detector
        self._video: Hashable = None
        self._state: Tensor | None = None

    def score(self, x: Tensor, videos: Sequence[Hashable]) -> Output:
        """Score pixels (N, ...) that continue those of the previous call; videos: the video of each clip."""
        return _concat([self._score_clip(clip[None], video) for clip, video in zip(x, videos, strict=True)])

    def restart(self) -> None:
        """Treat the next clip as the start of another video, unless the state carries over."""
        if not self.detector.carries_over:
            self._state = None

    def _score_clip(self, clip: Tensor, video: Hashable) -> Output:
        if video != self._video:
            self.restart()
        if self._state is None:
            self._state = self.detector.initial_state()
        self._video = video
        output, self._state = self.detector.step(clip, self._state)
        return output


class ParallelStreams:
    """Scores clips of many streams together with `step`; each stream keeps its state as long as this object exists."""

    def __init__(self, detector: StatefulDetector) -> None:
        self.detector = detector
        self._states: dict[Hashable, Tensor] = {}

    def score(self, x: Tensor, streams: Sequence[Hashable]) -> Output:
        """Score pixels (N, ...), in order within each stream; streams: the stream of each clip.

        If scoring fails, no state changes.
        """
        states = dict(self._states)
        rounds: dict[int, list[int]] = {}
        clip_counts: Counter[Hashable] = Counter()
        for row, stream in enumerate(streams):
            rounds.setdefault(clip_counts[stream], []).append(row)
            clip_counts[stream] += 1
        outputs = [self._step(x[rows], [streams[row] for row in rows], states) for rows in rounds.values()]
        output = _select(_concat(outputs), np.argsort([row for rows in rounds.values() for row in rows]))
        if bool(torch.isfinite(output.score).all()):  # the caller rejects other scores
            self._states = states
        return output

    def _step(self, x: Tensor, streams: Sequence[Hashable], states: dict[Hashable, Tensor]) -> Output:
        initial = self.detector.initial_state()
        before = torch.stack([states.get(stream, initial) for stream in streams])
        output, after = self.detector.step(x, before)
        states.update(zip(streams, after, strict=True))
        return output


def _concat(outputs: Sequence[Output]) -> Output:
    maps = [output.map for output in outputs if output.map is not None]
    return Output(
        score=torch.cat([output.score for output in outputs]),
        map=torch.cat(maps) if maps else None,
        terms={name: torch.cat([output.terms[name] for output in outputs]) for name in outputs[0].terms},
    )


def _select(output: Output, rows: np.ndarray) -> Output:
    indices = torch.from_numpy(rows).to(output.score.device)
    return Output(
        score=output.score[indices],
        map=None if output.map is None else output.map[indices],
        terms={name: term[indices] for name, term in output.terms.items()},
    )
