"""Stateful detectors over clips in order: every video or camera is a stream with a state of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
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
        return _joined([self._one(clip[None], video) for clip, video in zip(x, videos, strict=True)])

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


class SideBySide:
    """Scores clips of many streams at once by `step`; each goes on with its own state for as long as this lives."""

    def __init__(self, detector: StatefulDetector) -> None:
        self.detector = detector
        self._states: dict[Hashable, Tensor] = {}

    def score(self, x: Tensor, streams: Sequence[Hashable]) -> Output:
        """The output for pixels (N, ...), those of one stream in order; streams: the one that each is of.

        Where it fails no stream has moved.
        """
        states = dict(self._states)
        rounds: dict[int, list[int]] = {}
        seen: Counter[Hashable] = Counter()
        for row, stream in enumerate(streams):
            rounds.setdefault(seen[stream], []).append(row)
            seen[stream] += 1
        found = [self._step(x[rows], [streams[row] for row in rows], states) for rows in rounds.values()]
        output = _picked(_joined(found), np.argsort([row for rows in rounds.values() for row in rows]))
        if bool(torch.isfinite(output.score).all()):  # otherwise whoever asked refuses it
            self._states = states
        return output

    def _step(self, x: Tensor, streams: Sequence[Hashable], states: dict[Hashable, Tensor]) -> Output:
        initial = self.detector.initial_state()
        before = torch.stack([states.get(stream, initial) for stream in streams])
        output, after = self.detector.step(x, before)
        states.update(zip(streams, after, strict=True))
        return output


def _joined(found: Sequence[Output]) -> Output:
    maps = [output.map for output in found if output.map is not None]
    return Output(
        score=torch.cat([output.score for output in found]),
        map=torch.cat(maps) if maps else None,
        terms={name: torch.cat([output.terms[name] for output in found]) for name in found[0].terms},
    )


def _picked(output: Output, rows: np.ndarray) -> Output:
    places = torch.from_numpy(rows).to(output.score.device)
    return Output(
        score=output.score[places],
        map=None if output.map is None else output.map[places],
        terms={name: term[places] for name, term in output.terms.items()},
    )
