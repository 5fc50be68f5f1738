import pytest
import torch
import torch.nn.functional as F

from offnormal.backbones.video.slowfast import SlowFast, _slow_frames, _SlowFastNetwork
from offnormal.errors import ConfigError, WeightsError
from tests.backbones.video.naive import block, norm, stem, with_statistics
from tests.backbones.video.test_residual import published


@pytest.fixture(scope="module")
def slowfast():
    torch.manual_seed(0)
    backbone = SlowFast("slowfast_r50")
    with_statistics(backbone.trunk)
    return backbone.eval()


def test_names_order_and_shapes_match_the_published_checkpoint():
    with torch.device("meta"):
        state = _SlowFastNetwork(3).state_dict()
    assert [(key, str(tuple(value.shape))) for key, value in state.items()] == published("slowfast")


def test_the_slow_pathway_gets_the_frames_of_the_published_code():
    clip = torch.arange(32.0).view(1, 1, 32, 1, 1)
    assert _slow_frames(clip).flatten().tolist() == torch.linspace(0, 31, 8).long().tolist()
    assert _slow_frames(clip[:, :, :15]).shape[2] == 4


@pytest.mark.parametrize("frames", [8, 15])
def test_embedding_equals_a_naive_implementation(slowfast, frames):
    """Both pathways written out by name, with the fusion before every stage but the stem."""
    state = slowfast.trunk.state_dict()
    clip = torch.rand(2, 3, frames, 64, 48)
    with torch.inference_mode():
        embedding = slowfast.embed(clip)
        fast = (clip - 0.45) / 0.225
        slow = fast[:, :, torch.linspace(0, frames - 1, -(-frames // 4)).long()]
        for number, depth in enumerate((0, 3, 4, 6, 3)):
            paths = [slow, fast]
            for path in (0, 1):
                prefix = f"blocks.{number}.multipathway_blocks.{path}"
                if number == 0:
                    paths[path] = stem(state, prefix, paths[path], 5 if path else 1)
                    paths[path] = F.max_pool3d(paths[path], (1, 3, 3), (1, 2, 2), (0, 1, 1))
                for k in range(depth):
                    side = 2 if k == 0 and number > 1 else 1
                    kernel = 3 if path or number > 2 else 1
                    name = f"{prefix}.res_blocks.{k}"
                    paths[path] = block(state, name, paths[path], kernel, (1, side, side), bottleneck=True)
            slow, fast = paths
            if number < 4:
                prefix = f"blocks.{number}.multipathway_fusion"
                weight = state[f"{prefix}.conv_fast_to_slow.weight"]
                fused = F.conv3d(fast, weight, stride=(4, 1, 1), padding=(3, 0, 0))
                slow = torch.cat([slow, norm(state, f"{prefix}.norm", fused).clamp(min=0)], 1)
        expected = torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], 1)
    assert embedding.shape == (2, 2304)
    torch.testing.assert_close(embedding, expected, rtol=1e-3, atol=1e-4)


def test_it_is_no_encoder(slowfast):
    with pytest.raises(ConfigError, match="two pathways"):
        slowfast(torch.rand(1, 3, 8, 32, 32))


def test_the_error_for_weights_without_a_checksum_names_their_source(slowfast):
    with pytest.raises(WeightsError, match=r"SLOWFAST_8x8_R50\.pyth.*--weights FILE"):
        slowfast.load_pretrained()
