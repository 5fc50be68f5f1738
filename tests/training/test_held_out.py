"""Scores of held-out clips, for the frames of windows and for whole videos."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from offnormal.scoring import ScoredBatch, align
from offnormal.training.held_out import score_held_out
from offnormal.types import InputSpec, Scores
from tests.items import sample


def held_out(spec, path):
    """Windows of frames 0-5, 3-8 and 9-14 with scores 1, 2 and 4."""
    frames = np.array([[0, 5], [3, 8], [9, 14]])
    score = np.array([1, 2, 4], np.float32)
    samples = [replace(sample(path, frame=int(last)), time_s=last / 10) for _, last in frames]
    scored = ScoredBatch(Scores(score, None), samples, None, frames)
    scorer = SimpleNamespace(detector=SimpleNamespace(input=spec), score_batches=lambda _: [scored])
    return score_held_out(scorer, None), frames, score


def test_a_frame_has_the_mean_score_of_its_windows(tmp_path):
    held_out_scores, frames, score = held_out(InputSpec(size=(8, 8), frames=6, hop=3, targets=()), tmp_path)
    spread = [
        (value, frame) for (first, last), value in zip(frames, score, strict=True) for frame in range(first, last + 1)
    ]
    expected = align(np.array([[v] for v, _ in spread]), np.array([[f] for _, f in spread]), 15).score
    assert [sample.frame for sample in held_out_scores.samples] == list(range(15))
    np.testing.assert_allclose(held_out_scores.score, expected)
    assert held_out_scores.score[4] == pytest.approx(1.5)
    assert held_out_scores.peak[4] == 2


def test_a_frame_has_its_own_time_or_none(tmp_path):
    """A sample has the time of one frame; the other frames of its window have none."""
    held_out_scores, *_ = held_out(InputSpec(size=(8, 8), frames=6, hop=3, targets=()), tmp_path)
    assert [sample.time_s for sample in held_out_scores.samples if sample.time_s is not None] == [0.5, 0.8, 1.4]
    single = InputSpec(size=(8, 8), frames=6, targets=(-1,))
    assert [sample.time_s for sample in held_out(single, tmp_path)[0].samples] == [0.5, 0.8, 1.4]


def test_a_video_that_is_one_clip_has_one_score(tmp_path):
    held_out_scores, _, score = held_out(InputSpec(size=(8, 8), frames=6, sampling="uniform", targets=()), tmp_path)
    assert held_out_scores.score.tolist() == score.tolist()
    assert [sample.frame for sample in held_out_scores.samples] == [5, 8, 14]
