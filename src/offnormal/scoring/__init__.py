"""Detectors over batches, loaders and videos; scores of clips become scores of frames here and nowhere else."""

from offnormal.scoring.alignment import AlignedScores, Span, align
from offnormal.scoring.live import LiveScorer
from offnormal.scoring.scorer import EmbeddedScorer, Scored, Scorer, choose_device, concatenate, map_peaks, to_scores
from offnormal.scoring.stream import FrameStream, ScoredFrame
from offnormal.scoring.videos import Peak, VideoScores, score_videos

__all__ = [
    "AlignedScores",
    "EmbeddedScorer",
    "FrameStream",
    "LiveScorer",
    "Peak",
    "Scored",
    "ScoredFrame",
    "Scorer",
    "Span",
    "VideoScores",
    "align",
    "choose_device",
    "concatenate",
    "map_peaks",
    "score_videos",
    "to_scores",
]
