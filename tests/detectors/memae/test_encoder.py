import pytest
import torch
from pydantic import ValidationError
from torch import nn

from offnormal.backbones.video.catalogue import build_encoder, encoder_names
from offnormal.data.batches import Batch
from offnormal.detectors.memae import MemAE, MemAEOptions
from offnormal.detectors.memae.encoder import ClipEncoder, derived_blocks
from offnormal.errors import ConfigError, WeightsError
from offnormal.types import InputSpec
from tests.backbones.video.naive import with_statistics

SIZES = {"s3d": (8, 32, 48)}  # it takes 5 frames of 17 pixels at least
TINY = (4, 32, 48)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clips(frames, height, width, channels=1):
    return InputSpec(size=(height, width), channels=channels, frames=frames, targets=tuple(range(frames)))


def memae(name, size=None, channels=1, **more):
    size = size or SIZES.get(name, TINY)
    spec = clips(*size, channels)
    return MemAE.create(**{"encoder": name, "memory": 6, "frames": size[0], "channels": channels, "spec": spec, **more})


def without_numbers(name, size, **more):
    with torch.device("meta"):
        return memae(name, size, **more)


# --- the networks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("slowonly_r18", (512, 2, 8, 8)),
        ("slowonly_r34", (512, 2, 8, 8)),
        ("slowonly_r50", (2048, 2, 8, 8)),
        ("csn_r50", (2048, 2, 8, 8)),
        ("csn_r152", (2048, 2, 8, 8)),
        ("resnet3d_r18", (512, 2, 8, 8)),
        ("resnet3d_r34", (512, 2, 8, 8)),
        ("r3d_18", (512, 2, 16, 16)),
    ],
)
def test_codes_of_15_gray_frames_of_256_pixels_come_back_as_15_frames(name, code):
    made = without_numbers(name, (15, 256, 256), memory=2000)
    clip = torch.empty(1, 1, 15, 256, 256, device="meta")
    assert tuple(list(made.net.encoder(clip).values())[-1].shape) == (1, *code)
    output, attention = made.net(clip)
    assert output.shape == clip.shape
    assert attention.shape == (1, 2000, *code[1:])
    assert made.net.memory.shape == (2000, code[0])


@pytest.mark.parametrize("size", [(16, 61, 97), (9, 33, 130)])
@pytest.mark.parametrize("name", encoder_names())
def test_clips_of_odd_sizes_come_back(name, size):
    made = without_numbers(name, size, channels=3)
    clip = torch.empty(2, 3, *size, device="meta")
    assert made.net(clip)[0].shape == clip.shape


@pytest.mark.parametrize("name", encoder_names())
def test_every_encoder_learns_and_scores_as_it_learned(name):
    """A step moves all that learns; folded and channels last it gives what the network itself gives."""
    made = memae(name)
    with_statistics(made.net)
    optimizer = made.optimizers()["autoencoder"]
    x = torch.rand(2, 1, made.input.frames, *made.input.size)
    before = {key: value.clone() for key, value in made.net.named_parameters()}
    for _, losses in made.train().training_step(x):
        losses["loss"].backward()
        assert torch.isfinite(losses["loss"])
    optimizer.step()
    moved = [key for key, value in made.net.named_parameters() if not torch.equal(value, before[key])]
    assert len(moved) > 0.9 * len(before) and "memory" in moved
    made.eval().finish([Batch(x.numpy(), [], None)])
    with torch.inference_mode():
        plain, remade = made.net(2 * x - 1)[0], made._for_scoring()(made._scaled(x))[0]
        torch.testing.assert_close(remade, plain, rtol=1e-4, atol=1e-4)
        expected = (plain - (2 * x - 1)).square().mean((1, 3, 4))
        torch.testing.assert_close(made(x).score, expected, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(part, nn.BatchNorm3d) for part in made._for_scoring().modules())


def test_the_network_takes_pixels_around_0_and_its_encoder_those_in_0_1():
    made = memae("slowonly_r18").eval()
    x = torch.rand(2, 1, *TINY)
    found = list(made.net.encoder(2 * x - 1).values())[-1]
    torch.testing.assert_close(found, made.net.encoder.backbone(x)["layer4"], rtol=1e-4, atol=1e-5)


def test_the_start_follows_the_seed_and_the_encoders_own_rule():
    one, same, other = memae("slowonly_r18", seed=1), memae("slowonly_r18", seed=1), memae("slowonly_r18", seed=2)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), same.parameters(), strict=True))
    stem = "encoder.backbone.trunk.blocks.0.conv.weight"
    assert not torch.equal(one.net.get_parameter(stem), other.net.get_parameter(stem))
    torch.manual_seed(1)
    expected = build_encoder("slowonly_r18", in_channels=1).trunk.state_dict()
    found = one.net.encoder.backbone.trunk.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in found.items())  # no N(0, 0.02), and never run
    assert one.net.decoder[0].weight.std().item() == pytest.approx(0.02, rel=0.02)


def test_one_frame_of_eight_is_offered_for_comparison_and_warned_of(caplog):
    made = without_numbers("slowonly_r18", (15, 256, 256), temporal="stem8")
    assert "one frame of eight" in caplog.text
    clip = torch.empty(1, 1, 15, 256, 256, device="meta")
    assert made.net(clip)[0].shape == clip.shape
    assert made.net.encoder.strides["stem"] == (8, 2, 2)


@pytest.mark.parametrize(("name", "size"), [("csn_r50", (15, 256, 256)), ("s3d", (15, 97, 130))])
def test_the_decoder_shown_is_the_decoder_made(name, size):
    made = without_numbers(name, size)
    shown = derived_blocks(name, (1, *size))
    layers = [layer for layer in made.net.decoder if isinstance(layer, nn.ConvTranspose3d)]
    seen = []
    for layer in layers:
        layer.register_forward_hook(lambda _, taken, given: seen.append((taken[0].shape[2:], given.shape[1:])))
    made.net(torch.empty(1, 1, *size, device="meta"))
    for block, layer, (taken, given) in zip(shown, layers, seen, strict=True):
        assert (block.reads, (block.channels, *block.size)) == (tuple(taken), tuple(given))
        assert (block.kernel, block.stride) == (layer.kernel_size, layer.stride)
        for n, k, s, p, size_ in zip(taken, block.kernel, block.stride, block.output_padding, block.size, strict=True):
            assert (n - 1) * s - 2 * (k // 2) + k + p == size_


# --- weights ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as torchvision publishes them."""
    torch.manual_seed(3)
    trunk = with_statistics(build_encoder("mc3_18")).trunk
    path = tmp_path_factory.mktemp("weights") / "mc3.pth"
    torch.save({**trunk.state_dict(), "fc.weight": torch.zeros(400, 512), "fc.bias": torch.zeros(400)}, path)
    return path


def test_weights_are_taken_and_their_card_goes_with_the_detector(weights):
    made = memae("mc3_18", channels=3, weights=weights)
    assert made.cards() == []
    made.load_pretrained()
    (card,) = made.cards()
    assert (card.backbone, card.source, len(card.sha256)) == ("mc3_18", "mc3.pth", 64)
    assert torch.equal(made.net.encoder.backbone.trunk.stem[0].weight, torch.load(weights)["stem.0.weight"])
    again = memae("mc3_18", channels=3)
    again.restore_cards([card.model_dump(mode="json")])
    assert again.cards() == [card]


def test_a_frozen_encoder_keeps_weights_and_statistics_while_the_rest_learns(weights):
    made = memae("mc3_18", weights=weights, freeze_encoder=True)
    made.load_pretrained()
    encoder = made.net.encoder
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    optimizer = made.optimizers()["autoencoder"]
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert not held & {id(p) for p in encoder.parameters()}
    assert held == {id(p) for p in [*made.net.decoder.parameters(), made.net.memory]}
    x = torch.rand(2, 1, *TINY)
    for _, losses in made.train().training_step(x):
        losses["loss"].backward()
    optimizer.step()
    assert made.net.decoder.training and not any(part.training for part in encoder.backbone.modules())
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())


def test_building_and_folding_never_change_a_pretrained_encoder(weights):
    made = memae("mc3_18", channels=3, weights=weights)
    made.load_pretrained()
    published = torch.load(weights)
    made.eval()._for_scoring()
    made.train()
    for key, value in made.net.encoder.backbone.trunk.state_dict().items():
        assert torch.equal(value, published[key]), key


def test_a_frozen_encoder_without_weights_is_warned_of(caplog):
    memae("slowonly_r18", freeze_encoder=True).load_pretrained()
    assert "keeps random weights" in caplog.text


def test_weights_of_another_network_are_refused(weights):
    with pytest.raises(WeightsError, match="not weights of slowonly_r18"):
        memae("slowonly_r18", weights=weights).load_pretrained()
    with pytest.raises(WeightsError, match="no weights of slowonly_r18 are published"):
        memae("slowonly_r18", weights="published").load_pretrained()


# --- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"encoder": "slowonly_r8"}, "did you mean 'slowonly_r18'"),
        ({"encoder": "plane"}, "did you mean 'plain'"),
        ({"encoder": "slowonly_r18:8"}, "no encoder is called"),
        ({"encoder": "slowfast_r50"}, "its two pathways end in two tensors"),
        ({"encoder": "timesformer_b"}, "its tokens see the whole clip"),
        ({"encoder": "frames:efficientnet_lite0"}, "it sees one frame at a time"),
    ],
)
def test_names_that_are_no_encoder_are_answered(options, named):
    with pytest.raises(ConfigError, match=named):
        MemAEOptions(**options)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"encoder": "csn_r50", "form": "image"}, "only the form video"),
        ({"encoder": "csn_r50", "width": 8}, "only the plain encoder"),
        ({"weights": "a.pth", "freeze_encoder": True}, "weights and freeze_encoder with encoder=plain"),
        ({"temporal": "stem8"}, "temporal with encoder=plain"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, named):
    with pytest.raises(ValidationError, match=named):
        MemAEOptions(**options)


def test_pictures_have_no_encoder_of_clips():
    with pytest.raises(ConfigError, match="only the form video"):
        MemAE.adapt_options(MemAEOptions(encoder="csn_r50"), data="images", shown=320)


def test_time_is_shortened_in_a_way_that_the_network_knows():
    with pytest.raises(ConfigError, match="'stem8' is for SlowOnly"):
        without_numbers("csn_r50", TINY, temporal="stem8")
    with torch.device("meta"):
        assert ClipEncoder("slowonly_r18", 1, "published").strides["layer4"] == (1, 32, 32)
