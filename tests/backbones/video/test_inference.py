import pytest
import torch
from torch import nn

from offnormal import registry
from offnormal.backbones.folding import ScoringForm
from offnormal.backbones.video.catalogue import build_embedder, build_encoder, encoder_names, is_encoder
from offnormal.backbones.video.inference import optimize_for_inference, scoring_form
from offnormal.errors import ConfigError
from tests.backbones.video.naive import with_statistics

SIZES = {"s3d": (8, 32, 48)}  # it takes 5 frames of 17 pixels at least; the transformers have sizes of their own
OURS = [name for name in registry.names("backbones") if is_encoder(name)] + ["slowfast_r50", "frames:resnet18"]
SIZE = (4, 32, 48)


def norms(network):
    return sum(isinstance(part, nn.BatchNorm3d) for part in network.modules())


@pytest.mark.parametrize("name", OURS)
def test_embeddings_equal_the_original_network(name):
    torch.manual_seed(0)
    backbone = with_statistics(build_embedder(name)).eval()
    size = SIZES.get(name, SIZE)
    fast = optimize_for_inference(backbone, size)
    assert norms(fast) == 0 and not any(parameter.requires_grad for parameter in fast.parameters())
    clip = torch.rand(2, 3, *size)
    with torch.inference_mode():
        expected = backbone.embed(clip)
        for arguments in (clip, clip.contiguous(memory_format=torch.channels_last_3d)):
            torch.testing.assert_close(
                fast.embed(arguments), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max())
            )


@pytest.mark.parametrize("name", encoder_names())
def test_stages_of_encoders_equal_the_original_network(name):
    torch.manual_seed(0)
    encoder = with_statistics(build_encoder(name, in_channels=1)).eval()
    size = SIZES.get(name, SIZE)
    fast = optimize_for_inference(encoder, size)
    clip = torch.rand(1, 1, *(n + 1 for n in size))  # another size than it was fast for
    with torch.inference_mode():
        output = fast(clip)
        for stage, expected in encoder(clip).items():
            torch.testing.assert_close(output[stage], expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_the_original_network_does_not_change():
    encoder = build_encoder("slowonly_r18", in_channels=1).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    fast = optimize_for_inference(encoder, SIZE)
    assert encoder.training and not fast.train().training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert all(parameter.requires_grad for parameter in encoder.parameters())


def test_weights_are_channels_last():
    convolutions = [
        part for part in optimize_for_inference(build_encoder("csn_r50"), SIZE).modules() if isinstance(part, nn.Conv3d)
    ]
    assert all(part.weight.is_contiguous(memory_format=torch.channels_last_3d) for part in convolutions)


def test_a_wrong_clip_size_is_refused():
    with pytest.raises(ConfigError, match="s3d: clips of 1x8x8"):
        optimize_for_inference(build_embedder("s3d"), (1, 8, 8))


def test_the_scoring_form_is_updated_after_changes():
    torch.manual_seed(0)
    backbone = with_statistics(build_embedder("r3d_18")).eval()
    form, clip = ScoringForm(scoring_form), torch.rand(1, 3, *SIZE)

    def equal():
        with torch.inference_mode():
            output, expected = form.get(backbone, SIZE).embed(clip), backbone.embed(clip)
        return torch.allclose(output, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))

    assert equal() and form.get(backbone, SIZE) is form.get(backbone, SIZE) is not backbone
    before = form.get(backbone, SIZE)
    with torch.no_grad():
        next(backbone.trunk.parameters()).mul_(2)
    assert form.get(backbone, SIZE) is not before and equal()
    backbone.load_state_dict(with_statistics(build_embedder("r3d_18")).state_dict())
    assert equal()


def test_a_network_without_batch_normalization_is_not_copied():
    backbone = build_embedder("frames:resnet18").eval()
    assert ScoringForm(scoring_form).get(backbone, SIZE) is backbone


def test_weights_are_not_channels_last_where_that_is_slower():
    fast = optimize_for_inference(build_embedder("slowfast_r50"), (8, 64, 64))
    convolutions = [part for part in fast.modules() if isinstance(part, torch.nn.Conv3d) and part.kernel_size[1] > 1]
    assert convolutions and all(part.weight.is_contiguous() for part in convolutions)
