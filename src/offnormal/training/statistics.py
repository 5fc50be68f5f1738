"""Fitting of statistical detectors: one pass over the data, and training samples scored with themselves left out."""

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

_SAMPLE_BYTES = 48 << 20  # of embeddings kept for scoring with the sample left out
_SAMPLE_LEAST = 128  # images kept all the same: a 1 % rate needs 99
_FOLDS = 10
_SCORE_BATCH = 16

Kind = Literal["leave_one_out", "leave_group_out", "held_out"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Scores of normal samples by detectors that had not seen them."""

    kind: Kind
    samples: list[Sample]
    score: np.ndarray  # (n,) float32
    peak: np.ndarray  # (n,) float32, highest value of each map


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What is known after a fit."""

    left_out: LeftOut | None
    skipped: Sequence[Skipped]
    count: int  # of images or clips learned from
    waited_s: float  # for data, in the first pass
    training: dict[str, object] | None = None  # of a detector that was trained: for the card
    is_finished: bool = True  # not stopped by the limit of time


def learn(
    detector: StatisticalDetector, loader: Batches, *, device: torch.device, seed: int = 0, wanted: int = 0
) -> LeftOut | None:
    """Fit a statistical detector in one pass and finish it; give the scores of samples left out.

    With groups, whole groups are left out, in at most 10 folds and with a second pass over the data; otherwise each
    image of a bounded random sample, of at least `wanted` where there are so many, is left out alone. None when there
    are fewer than three images, or groups too small to leave one out.
    Raises DataError with fewer than two images.
    """
    detector.to(device).eval()
    kept = _Kept(len(loader), seed, least=max(_SAMPLE_LEAST, wanted))
    seen: Counter[str | None] = Counter()  # samples of each group: of a video every frame is one
    batch_of = f"a batch of {loader.batch_size} samples, or what is learned from it,"
    with torch.no_grad(), explain_memory_error(batch_of, "lower --batch-size or --size", FitError):
        for batch in loader:
            embedding = detector.embed(torch.from_numpy(batch.pixels).to(device))
            detector.absorb(embedding)
            kept.offer(embedding, batch)
            seen.update(sample.group for sample in batch.samples)
        if seen.total() < 2:
            skipped = f" ({len(loader.skipped)} could not be read)" if loader.skipped else ""
            raise DataError(f"{seen.total()} normal image(s){skipped}: at least 2 are needed, 100 or more are advised")
        left_out: LeftOut | None = None
        if None not in seen and len(seen) > 1:
            left_out = _by_groups(detector, loader, seen, device, seed, wanted)
        elif seen.total() > 2:
            if None not in seen:
                log.warning("all images are of one group (%s): each is left out alone", next(iter(seen)))
            left_out = kept.left_out(detector, device)
        detector.finish()
    return left_out


class _Kept:
    """Embeddings of a bounded random sample of the training images."""

    def __init__(self, total: int, seed: int, *, least: int, share: float = 1.0) -> None:
        self.total = total
        self.budget = int(_SAMPLE_BYTES * share)
        self.least = math.ceil(least * share)
        self.rank = np.random.default_rng(seed).permutation(total)
        self.offered = 0
        self.embeddings: Tensor | None = None  # (limit, E), filled up to len(samples)
        self.samples: list[Sample] = []

    def offer(self, embedding: Tensor, batch: Batch) -> None:
        """Keep those of a batch (N, E) that the random choice fell on; half precision when all would not fit."""
        if self.embeddings is None:
            width = embedding.shape[1]
            precise = self.total * width * 4 <= self.budget
            limit = self.total if precise else min(self.total, max(self.least, self.budget // (width * 2)))
            self.embeddings = torch.empty(limit, width, dtype=torch.float32 if precise else torch.float16)
        numbers = self.rank[self.offered : self.offered + len(embedding)]
        self.offered += len(embedding)
        for i in np.flatnonzero(numbers < len(self.embeddings)):
            self.embeddings[len(self.samples)] = embedding[i].cpu()
            self.samples.append(batch.samples[i])

    def left_out(self, detector: StatisticalDetector, device: torch.device) -> LeftOut | None:
        """Each kept sample scored by the statistics of all others; None when there is none."""
        if self.embeddings is None or not self.samples:
            return None
        outputs = detector.leave_one_out(self.embeddings[: len(self.samples)].to(device))
        return _gather("leave_one_out", self.samples, outputs)

    def scored(self, detector: StatisticalDetector, device: torch.device) -> LeftOut | None:
        """The kept samples scored by a finished detector that has not seen them; None when there is none."""
        if self.embeddings is None or not self.samples:
            return None
        kept = self.embeddings[: len(self.samples)]
        return _gather(
            "leave_group_out",
            self.samples,
            (
                detector.score_embedding(kept[start : start + _SCORE_BATCH].float().to(device))
                for start in range(0, len(kept), _SCORE_BATCH)
            ),
        )


def _gather(kind: Kind, samples: list[Sample], outputs: Iterable[Output]) -> LeftOut:
    rows = [(found.score, map_peaks(found)) for found in map(to_scores, outputs)]
    return LeftOut(kind, samples, np.concatenate([s for s, _ in rows]), np.concatenate([p for _, p in rows]))


def _by_groups(
    detector: StatisticalDetector,
    loader: Batches,
    seen: Mapping[str | None, int],
    device: torch.device,
    seed: int,
    wanted: int,
) -> LeftOut | None:
    total, folds = sum(seen.values()), _folds(seen)
    counts = [sum(seen[group] for group in fold) for fold in folds]
    if total - max(counts) < 2:
        log.warning("without its largest group fewer than 2 images are left: no calibration by groups is possible")
        return None
    pieces: list[LeftOut] = []
    for fold, count in zip(folds, counts, strict=True):
        part = detector.blank().to(device)
        kept = _Kept(count, seed, least=max(_SAMPLE_LEAST, wanted), share=count / total)
        for batch in loader.with_groups(fold):
            embedding = part.embed(torch.from_numpy(batch.pixels).to(device))
            part.absorb(embedding)
            kept.offer(embedding, batch)
        rest = detector.without(part)
        rest.finish()
        piece = kept.scored(rest, device)
        if piece is not None:
            pieces.append(piece)
    return LeftOut(
        "leave_group_out",
        [sample for piece in pieces for sample in piece.samples],
        np.concatenate([piece.score for piece in pieces]),
        np.concatenate([piece.peak for piece in pieces]),
    )


def _folds(counts: Mapping[str | None, int]) -> list[set[str | None]]:
    """Whole groups dealt into at most 10 folds of about as many samples each, the largest group first."""
    folds: list[set[str | None]] = [set() for _ in range(min(_FOLDS, len(counts)))]
    sizes = [0] * len(folds)
    for group in sorted(counts, key=lambda group: counts[group], reverse=True):
        smallest = sizes.index(min(sizes))
        folds[smallest].add(group)
        sizes[smallest] += counts[group]
    return folds
