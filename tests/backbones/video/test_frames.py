import doctest

import pytest
import torch

from offnormal.backbones.video import frames
from offnormal.backbones.video.catalogue import build_embedder, build_encoder
from offnormal.backbones.video.frames import statistics
from offnormal.errors import ConfigError


@pytest.fixture(scope="module")
def lite0():
    backbone = build_embedder("frames:efficientnet_lite0")
    backbone.load_pretrained()
    return backbone


def test_the_offline_default_embeds_clips_with_its_packaged_weights(lite0):
    assert lite0.card.sha256.startswith("579344248a93")
    assert lite0.card.embedding == 3 * 320
    clip = torch.rand(2, 3, 3, 64, 64)
    with torch.inference_mode():
        embedding = lite0.embed(clip)
        alone = [lite0.trunk(clip[:, :, t])["blocks.6"].mean((2, 3)) for t in range(3)]
    mean = (alone[0] + alone[1] + alone[2]) / 3
    spread = ((alone[0] - mean) ** 2 + (alone[1] - mean) ** 2 + (alone[2] - mean) ** 2).div(3).sqrt()
    change = ((alone[1] - alone[0]).abs() + (alone[2] - alone[1]).abs()) / 2
    torch.testing.assert_close(embedding, torch.cat([mean, spread, change], 1), rtol=1e-3, atol=1e-4)


def test_a_single_frame_does_not_change():
    assert statistics(torch.rand(2, 1, 4))[:, 4:].tolist() == [[0.0] * 8] * 2


def test_gray_clips_equal_three_equal_colors():
    backbone = build_embedder("frames:resnet18", in_channels=1)
    clip = torch.rand(1, 1, 2, 32, 32)
    assert torch.equal(backbone.embed(clip), backbone.embed(clip.expand(-1, 3, -1, -1, -1)))


def test_order_of_frames_matters(lite0):
    clip = torch.rand(1, 3, 4, 64, 64)
    with torch.inference_mode():
        assert not torch.allclose(lite0.embed(clip), lite0.embed(clip[:, :, [0, 2, 1, 3]]))


def test_a_missing_network_and_an_encoder_are_refused():
    with pytest.raises(ConfigError, match="frames:efficientnet_lite0"):
        build_embedder("frames")
    with pytest.raises(ConfigError, match="one frame at a time"):
        build_encoder("frames:resnet18")


def test_doctests():
    assert doctest.testmod(frames, extraglobs={"torch": torch}).failed == 0
