import pytest
import torch

from offnormal.detectors.baselines import FrameDifference, FrameDifferenceOptions
from offnormal.types import ClipSpec, InputSpec


def test_a_clip_is_two_frames_some_seconds_apart():
    assert FrameDifference.clip_spec(FrameDifferenceOptions(lag=0.2)) == ClipSpec(frames=2, fps=5.0)
    assert FrameDifference.clip_spec(FrameDifferenceOptions()).fps == pytest.approx(2.5)


def test_rest_scores_zero_and_both_directions_of_change_score_equally():
    detector = FrameDifference(FrameDifferenceOptions(sigma=0), InputSpec(size=(4, 6), channels=1, frames=2, fps=2.5))
    detector.update(torch.rand(30, 1, 2, 4, 6, generator=torch.Generator().manual_seed(0)))
    detector.finish()
    still = torch.full((1, 1, 2, 4, 6), 0.7)
    brighter = torch.stack([torch.zeros(1, 1, 4, 6), torch.ones(1, 1, 4, 6)], 2)
    assert detector(still).score == 0
    assert detector(brighter).score > 0
    torch.testing.assert_close(detector(brighter).map, detector(brighter.flip(2)).map)
