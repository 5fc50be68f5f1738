"""Fit statistical detectors in one pass over the data, and score training samples by leave-one-out."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from offnormal.data.batches import Batch, Batches
from offnormal.data.dataset import Skipped
from offnormal.detectors.base import StatisticalDetector
from offnormal.errors import DataError, FitError
from offnormal.scoring import map_peaks, to_scores
from offnormal.scoring.scorer import explain_memory_error
from offnormal.types import Output, Sample

log = logging.getLogger(__name__)

_SAMPLE_BYTES = 48 << 20  # of embeddings stored for leave-one-out scores
_MIN_SAMPLES = 128  # images stored in any case: a 1 % rate needs 99
_FOLDS = 10
_SCORE_BATCH = 16

Kind = Literal["leave_one_out", "leave_group_out", "held_out"]


@dataclass(frozen=True, slots=True)
class NormalScores:
    """Scores of normal samples, each by a detector that was not trained on it."""

    kind: Kind
    samples: list[Sample]
    score: np.ndarray  # (n,) float32
    peak: np.ndarray  # (n,) float32, highest value of each anomaly map


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The result of a fit."""

    normal_scores: NormalScores | None  # for calibration
    skipped: Sequence[Skipped]
    count: int  # images or clips trained on
    waited_s: float  # waiting for data in the first pass
    training: dict[str, object] | None = None  # the card's section on training, for trained detectors
    is_finished: bool = True  # not stopped by --max-time


def fit_statistics(
    detector: StatisticalDetector,
    loader: Batches,
    *,
    device: torch.device,
    seed: int = 0,
    needed: int = 0,
    leaves_out: bool = True,
) -> NormalScores | None:
    """Fit and finish a statistical detector in one pass; return scores of normals for calibration.

    With groups, each group is scored by a fit without it, in at most 10 folds and a second pass. Otherwise
    each image of a bounded random sample (at least `needed` if there are so many) is scored by leave-one-out.
    Returns None for fewer than three images, for groups too small to leave one out, and if leaves_out is False. Raises
    DataError for fewer than two images.
    """
    detector.to(device).eval()
    stored = _StoredSample(len(loader) if leaves_out else 0, seed, minimum=max(_MIN_SAMPLES, needed))
    counts: Counter[str | None] = Counter()  # samples per group; each frame of a video is one
    batch_text = f"a batch of {loader.batch_size} samples, or its statistics,"
    with torch.no_grad(), explain_memory_error(batch_text, "lower --batch-size or --size", FitError):
        for batch in loader:
            embedding = detector.embed(torch.from_numpy(batch.pixels).to(device))
            detector.absorb(embedding)
            stored.add(embedding, batch)
            counts.update(sample.group for sample in batch.samples)
        if counts.total() < 2:
            unreadable = f" ({len(loader.skipped)} unreadable)" if loader.skipped else ""
            noun = "image" if counts.total() == 1 else "images"
            raise DataError(
                f"{counts.total()} normal {noun} found{unreadable}; expected at least 2. 100 or more are advised"
            )
        normal_scores: NormalScores | None = None
        if leaves_out and None not in counts and len(counts) > 1:
            normal_scores = _leave_group_out(detector, loader, counts, device, seed, needed)
        elif leaves_out and counts.total() > 2:
            if None not in counts:
                log.warning("all images are in one group (%s): each is left out individually", next(iter(counts)))
            normal_scores = stored.score_leave_one_out(detector, device)
        detector.finish()
    return normal_scores


class _StoredSample:
    """Embeddings of a bounded random sample of the training images."""

    def __init__(self, total: int, seed: int, *, minimum: int, share: float = 1.0) -> None:
        self.total = total
        self.budget = int(_SAMPLE_BYTES * share)
        self.minimum = math.ceil(minimum * share)
        self.rank = np.random.default_rng(seed).permutation(total)
        self.count = 0
        self.embeddings: Tensor | None = None  # (limit, E), filled up to len(samples)
        self.samples: list[Sample] = []

    def add(self, embedding: Tensor, batch: Batch) -> None:
        """Store the randomly chosen rows of a batch (N, E), in half precision if all would not fit otherwise."""
        if self.embeddings is None:
            width = embedding.shape[1]
            fits = self.total * width * 4 <= self.budget
            limit = self.total if fits else min(self.total, max(self.minimum, self.budget // (width * 2)))
            self.embeddings = torch.empty(limit, width, dtype=torch.float32 if fits else torch.float16)
        numbers = self.rank[self.count : self.count + len(embedding)]
        self.count += len(embedding)
        for i in np.flatnonzero(numbers < len(self.embeddings)):
            self.embeddings[len(self.samples)] = embedding[i].cpu()
            self.samples.append(batch.samples[i])

    def score_leave_one_out(self, detector: StatisticalDetector, device: torch.device) -> NormalScores | None:
        """Score each stored sample by the statistics of all others; None if nothing is stored."""
        if self.embeddings is None or not self.samples:
            return None
        outputs = detector.leave_one_out(self.embeddings[: len(self.samples)].to(device))
        return _collect("leave_one_out", self.samples, outputs)

    def score(self, detector: StatisticalDetector, device: torch.device) -> NormalScores | None:
        """Score the stored samples by a finished detector fitted without them; None if nothing is stored."""
        if self.embeddings is None or not self.samples:
            return None
        rows = self.embeddings[: len(self.samples)]
        return _collect(
            "leave_group_out",
            self.samples,
            (
                detector.score_embedding(rows[start : start + _SCORE_BATCH].float().to(device))
                for start in range(0, len(rows), _SCORE_BATCH)
            ),
        )


def _collect(kind: Kind, samples: list[Sample], outputs: Iterable[Output]) -> NormalScores:
    rows = [(scores.score, map_peaks(scores)) for scores in map(to_scores, outputs)]
    return NormalScores(kind, samples, np.concatenate([s for s, _ in rows]), np.concatenate([p for _, p in rows]))


def _leave_group_out(
    detector: StatisticalDetector,
    loader: Batches,
    group_sizes: Mapping[str | None, int],
    device: torch.device,
    seed: int,
    needed: int,
) -> NormalScores | None:
    total, folds = sum(group_sizes.values()), _folds(group_sizes)
    counts = [sum(group_sizes[group] for group in fold) for fold in folds]
    if total - max(counts) < 2:
        log.warning("without the largest group fewer than 2 images remain: calibration by groups is not possible")
        return None
    fold_scores: list[NormalScores] = []
    for fold, count in zip(folds, counts, strict=True):
        excluded = detector.blank().to(device)
        stored = _StoredSample(count, seed, minimum=max(_MIN_SAMPLES, needed), share=count / total)
        for batch in loader.with_groups(fold):
            embedding = excluded.embed(torch.from_numpy(batch.pixels).to(device))
            excluded.absorb(embedding)
            stored.add(embedding, batch)
        remaining = detector.without(excluded)
        remaining.finish()
        scores = stored.score(remaining, device)
        if scores is not None:
            fold_scores.append(scores)
    return NormalScores(
        "leave_group_out",
        [sample for scores in fold_scores for sample in scores.samples],
        np.concatenate([scores.score for scores in fold_scores]),
        np.concatenate([scores.peak for scores in fold_scores]),
    )


def _folds(counts: Mapping[str | None, int]) -> list[set[str | None]]:
    """Distribute whole groups over at most 10 folds of similar size, the largest group first."""
    folds: list[set[str | None]] = [set() for _ in range(min(_FOLDS, len(counts)))]
    sizes = [0] * len(folds)
    for group in sorted(counts, key=lambda group: counts[group], reverse=True):
        smallest = sizes.index(min(sizes))
        folds[smallest].add(group)
        sizes[smallest] += counts[group]
    return folds
