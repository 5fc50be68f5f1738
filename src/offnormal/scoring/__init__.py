"""Detectors over batches, loaders and videos; scores of clips become scores of frames here and nowhere else."""

from offnormal.scoring.alignment import AlignedScores, UnscoredSpan, align
from offnormal.scoring.live import LiveScorer
from offnormal.scoring.pipeline import ItemScores, score_items, was_skipped
from offnormal.scoring.scorer import (
    EmbeddedScorer,
    ScoredBatch,
    Scorer,
    choose_device,
    concatenate,
    map_peaks,
    to_scores,
)
from offnormal.scoring.stream import FrameStream, ScoredFrame

__all__ = [
    "AlignedScores",
    "EmbeddedScorer",
    "FrameStream",
    "ItemScores",
    "LiveScorer",
    "ScoredBatch",
    "ScoredFrame",
    "Scorer",
    "UnscoredSpan",
    "align",
    "choose_device",
    "concatenate",
    "map_peaks",
    "score_items",
    "to_scores",
    "was_skipped",
]
