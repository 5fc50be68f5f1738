import doctest

import pytest
import torch

from offnormal.backbones.video import base
from offnormal.backbones.video.base import resample


@pytest.mark.parametrize(("length", "frames"), [(15, 8), (8, 16), (1, 4), (32, 32)])
def test_resampled_clips_run_from_the_first_to_the_last_frame(length, frames):
    clip = torch.arange(float(length)).view(1, 1, length, 1, 1)
    resampled = resample(clip, frames).flatten()
    step = (length - 1) / max(1, frames - 1)
    assert len(resampled) == frames
    assert all(abs(value - k * step) <= 0.5 for k, value in enumerate(resampled.tolist()))


def test_doctests():
    assert doctest.testmod(base, extraglobs={"torch": torch}).failed == 0
