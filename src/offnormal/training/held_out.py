"""Scores of held-out normal samples, which the threshold of a trained detector is based on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from offnormal.data.batches import Batches
from offnormal.scoring import EmbeddedScorer, ScoredBatch, Scorer, map_peaks
from offnormal.training.statistics import NormalScores
from offnormal.types import Sample


@dataclass(slots=True)
class _UnitScore:
    sample: Sample
    total: float = 0.0
    count: int = 0
    peak: float = -np.inf


def score_held_out(scorer: Scorer | EmbeddedScorer, loader: Batches) -> NormalScores:
    """Return one score per held-out image or frame; a frame in several clips gets their mean, as in `align`.

    The score of a whole window counts for each frame from its first to its last. A video that is one clip has one
    score.
    """
    spec = scorer.detector.input
    spreads = not spec.targets and spec.sampling == "window"
    units: dict[object, _UnitScore] = {}
    for scored in scorer.score_batches(loader):
        scores = scored.scores.score.reshape(len(scored.samples), -1)  # (N, K)
        peaks = map_peaks(scored.scores).reshape(scores.shape)
        for number, sample in enumerate(scored.samples):
            for column, frame_index in _scored_frames(scored, number, scores.shape[1], spreads):
                time_s = sample.time_s if frame_index == sample.frame else None  # unknown for other frames
                unit = units.setdefault(
                    len(units) if frame_index is None else (sample.item.path, frame_index),
                    _UnitScore(replace(sample, frame=frame_index, time_s=time_s)),
                )
                unit.total += float(scores[number, column])
                unit.count += 1
                unit.peak = max(unit.peak, float(peaks[number, column]))
    results = list(units.values())
    return NormalScores(
        "held_out",
        [unit.sample for unit in results],
        np.array([unit.total / unit.count for unit in results], np.float32),
        np.array([unit.peak for unit in results], np.float32),
    )


def _scored_frames(scored: ScoredBatch, number: int, count: int, spreads: bool) -> Iterator[tuple[int, int | None]]:
    """Yield the column of each score of a sample and the index of the frame that it scores; None for an image."""
    if scored.frames is None:
        yield from ((column, None) for column in range(count))
    elif spreads:
        first, last = scored.frames[number].tolist()
        yield from ((0, frame) for frame in range(first, last + 1))
    else:
        yield from ((column, int(scored.frames[number, column - count])) for column in range(count))
