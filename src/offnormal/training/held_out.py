"""Scores of the normals that were kept back: what the threshold of a trained detector rests on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from offnormal.data.batches import Batches
from offnormal.scoring import EmbeddedScorer, ScoredBatch, Scorer, map_peaks
from offnormal.training.statistics import LeftOut
from offnormal.types import Sample


@dataclass(slots=True)
class _Frame:
    sample: Sample
    total: float = 0.0
    count: int = 0
    peak: float = -np.inf


def score_held_out(scorer: Scorer | EmbeddedScorer, loader: Batches) -> LeftOut:
    """One score for every picture or frame kept back; of a frame in several clips the mean, as in `align`.

    A window that is scored as a whole speaks of all frames from its first to its last; of a video that is one clip
    there is one score.
    """
    spec = scorer.detector.input
    spreads = not spec.targets and spec.sampling == "window"
    found: dict[object, _Frame] = {}
    for scored in scorer.score_batches(loader):
        scores = scored.scores.score.reshape(len(scored.samples), -1)  # (N, K)
        peaks = map_peaks(scored.scores).reshape(scores.shape)
        for number, sample in enumerate(scored.samples):
            for place, spoken in _spoken(scored, number, scores.shape[1], spreads):
                time_s = sample.time_s if spoken == sample.frame else None  # of other frames it is not known
                frame = found.setdefault(
                    len(found) if spoken is None else (sample.item.path, spoken),
                    _Frame(replace(sample, frame=spoken, time_s=time_s)),
                )
                frame.total += float(scores[number, place])
                frame.count += 1
                frame.peak = max(frame.peak, float(peaks[number, place]))
    frames = list(found.values())
    return LeftOut(
        "held_out",
        [frame.sample for frame in frames],
        np.array([frame.total / frame.count for frame in frames], np.float32),
        np.array([frame.peak for frame in frames], np.float32),
    )


def _spoken(scored: ScoredBatch, number: int, count: int, spreads: bool) -> Iterator[tuple[int, int | None]]:
    """The scores of a sample, by place, and the frames that they speak of; None: it is a picture."""
    if scored.frames is None:
        yield from ((place, None) for place in range(count))
    elif spreads:
        first, last = scored.frames[number].tolist()
        yield from ((0, frame) for frame in range(first, last + 1))
    else:
        yield from ((place, int(scored.frames[number, place - count])) for place in range(count))
