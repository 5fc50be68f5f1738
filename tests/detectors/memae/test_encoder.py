import pytest
import torch
from pydantic import ValidationError
from torch import nn

from offnormal.backbones.video.catalogue import build_encoder, encoder_names
from offnormal.data.batches import Batch
from offnormal.detectors.memae import MemAE, MemAEOptions
from offnormal.detectors.memae.encoder import ClipEncoder, derive_decoder_blocks
from offnormal.errors import ConfigError, WeightsError
from offnormal.types import InputSpec
from tests.backbones.video.naive import with_statistics

SIZES = {"s3d": (8, 32, 48)}  # it needs at least 5 frames of 17 pixels
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
    options = {"encoder": name, "memory_size": 6, "frames": size[0], "channels": channels, **more}
    return MemAE.create(spec=spec, **options)


def on_meta_device(name, size, **more):
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
def test_15_gray_frames_of_256_pixels_are_restored(name, code):
    detector = on_meta_device(name, (15, 256, 256), memory_size=2000)
    clip = torch.empty(1, 1, 15, 256, 256, device="meta")
    assert tuple(list(detector.net.encoder(clip).values())[-1].shape) == (1, *code)
    output, attention = detector.net(clip)
    assert output.shape == clip.shape
    assert attention.shape == (1, 2000, *code[1:])
    assert detector.net.memory.shape == (2000, code[0])


@pytest.mark.parametrize("size", [(16, 61, 97), (9, 33, 130)])
@pytest.mark.parametrize("name", encoder_names())
def test_clips_of_odd_sizes_are_restored(name, size):
    detector = on_meta_device(name, size, channels=3)
    clip = torch.empty(2, 3, *size, device="meta")
    assert detector.net(clip)[0].shape == clip.shape


@pytest.mark.parametrize("name", encoder_names())
def test_every_encoder_trains_and_scores_alike(name):
    """A step updates all trainable parameters; the folded network scores like the original."""
    detector = memae(name)
    with_statistics(detector.net)
    optimizer = detector.optimizers()["autoencoder"]
    x = torch.rand(2, 1, detector.input.frames, *detector.input.size)
    before = {key: value.clone() for key, value in detector.net.named_parameters()}
    for _, losses in detector.train().training_step(x):
        losses["loss"].backward()
        assert torch.isfinite(losses["loss"])
    optimizer.step()
    moved = [key for key, value in detector.net.named_parameters() if not torch.equal(value, before[key])]
    assert len(moved) > 0.9 * len(before) and "memory" in moved
    detector.eval().finish([Batch(x.numpy(), [], None)])
    with torch.inference_mode():
        plain, folded = detector.net(2 * x - 1)[0], detector._scoring_network()(detector._scale(x))[0]
        torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-4)
        expected = (plain - (2 * x - 1)).square().mean((1, 3, 4))
        torch.testing.assert_close(detector(x).score, expected, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(part, nn.BatchNorm3d) for part in detector._scoring_network().modules())


def test_the_encoder_gets_pixels_in_0_1():
    detector = memae("slowonly_r18").eval()
    x = torch.rand(2, 1, *TINY)
    features = list(detector.net.encoder(2 * x - 1).values())[-1]
    torch.testing.assert_close(features, detector.net.encoder.backbone(x)["layer4"], rtol=1e-4, atol=1e-5)


def test_initial_weights_follow_the_seed_and_the_backbone():
    first, same, other = memae("slowonly_r18", seed=1), memae("slowonly_r18", seed=1), memae("slowonly_r18", seed=2)
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), same.parameters(), strict=True))
    stem = "encoder.backbone.trunk.blocks.0.conv.weight"
    assert not torch.equal(first.net.get_parameter(stem), other.net.get_parameter(stem))
    torch.manual_seed(1)
    expected = build_encoder("slowonly_r18", in_channels=1).trunk.state_dict()
    state = first.net.encoder.backbone.trunk.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in state.items())  # neither N(0, 0.02) nor trained
    assert first.net.decoder[0].weight.std().item() == pytest.approx(0.02, rel=0.02)


def test_stem8_works_with_a_warning(caplog):
    detector = on_meta_device("slowonly_r18", (15, 256, 256), temporal="stem8")
    assert "one frame of eight" in caplog.text
    clip = torch.empty(1, 1, 15, 256, 256, device="meta")
    assert detector.net(clip)[0].shape == clip.shape
    assert detector.net.encoder.strides["stem"] == (8, 2, 2)


@pytest.mark.parametrize(("name", "size"), [("csn_r50", (15, 256, 256)), ("s3d", (15, 97, 130))])
def test_the_listed_decoder_blocks_equal_the_built_ones(name, size):
    detector = on_meta_device(name, size)
    blocks = derive_decoder_blocks(name, (1, *size))
    layers = [layer for layer in detector.net.decoder if isinstance(layer, nn.ConvTranspose3d)]
    sizes = []
    for layer in layers:
        layer.register_forward_hook(lambda _, inputs, output: sizes.append((inputs[0].shape[2:], output.shape[1:])))
    detector.net(torch.empty(1, 1, *size, device="meta"))
    for block, layer, (inputs, output) in zip(blocks, layers, sizes, strict=True):
        assert (block.reads, (block.channels, *block.size)) == (tuple(inputs), tuple(output))
        assert (block.kernel, block.stride) == (layer.kernel_size, layer.stride)
        for n, k, s, p, size_ in zip(inputs, block.kernel, block.stride, block.output_padding, block.size, strict=True):
            assert (n - 1) * s - 2 * (k // 2) + k + p == size_


# --- weights ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A weights file like torchvision's."""
    torch.manual_seed(3)
    trunk = with_statistics(build_encoder("mc3_18")).trunk
    path = tmp_path_factory.mktemp("weights") / "mc3.pth"
    torch.save({**trunk.state_dict(), "fc.weight": torch.zeros(400, 512), "fc.bias": torch.zeros(400)}, path)
    return path


def test_weights_load_and_their_card_is_restored(weights):
    detector = memae("mc3_18", channels=3, weights=weights)
    assert detector.cards() == []
    detector.load_pretrained()
    (card,) = detector.cards()
    assert (card.backbone, card.source, len(card.sha256)) == ("mc3_18", "mc3.pth", 64)
    assert torch.equal(detector.net.encoder.backbone.trunk.stem[0].weight, torch.load(weights)["stem.0.weight"])
    again = memae("mc3_18", channels=3)
    again.restore_cards([card.model_dump(mode="json")])
    assert again.cards() == [card]


def test_a_frozen_encoder_does_not_change_in_training(weights):
    detector = memae("mc3_18", weights=weights, freeze_encoder=True)
    detector.load_pretrained()
    encoder = detector.net.encoder
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    optimizer = detector.optimizers()["autoencoder"]
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert not held & {id(p) for p in encoder.parameters()}
    assert held == {id(p) for p in [*detector.net.decoder.parameters(), detector.net.memory]}
    x = torch.rand(2, 1, *TINY)
    for _, losses in detector.train().training_step(x):
        losses["loss"].backward()
    optimizer.step()
    assert detector.net.decoder.training and not any(part.training for part in encoder.backbone.modules())
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())


def test_building_and_folding_do_not_change_a_pretrained_encoder(weights):
    detector = memae("mc3_18", channels=3, weights=weights)
    detector.load_pretrained()
    published = torch.load(weights)
    detector.eval()._scoring_network()
    detector.train()
    for key, value in detector.net.encoder.backbone.trunk.state_dict().items():
        assert torch.equal(value, published[key]), key


def test_a_frozen_encoder_without_weights_logs_a_warning(caplog):
    memae("slowonly_r18", freeze_encoder=True).load_pretrained()
    assert "has random weights" in caplog.text


def test_weights_of_another_network_are_rejected(weights):
    with pytest.raises(WeightsError, match="not weights of slowonly_r18"):
        memae("slowonly_r18", weights=weights).load_pretrained()
    with pytest.raises(WeightsError, match="slowonly_r18: no published weights"):
        memae("slowonly_r18", weights="published").load_pretrained()


# --- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "slowonly_r8"}, "did you mean 'slowonly_r18'"),
        ({"encoder": "plane"}, "did you mean 'plain'"),
        ({"encoder": "slowonly_r18:8"}, "unknown encoder"),
        ({"encoder": "slowfast_r50"}, "its two pathways have outputs of different length"),
        ({"encoder": "timesformer_b"}, "its tokens cover the whole clip"),
        ({"encoder": "frames:efficientnet_lite0"}, "it processes one frame at a time"),
    ],
)
def test_unknown_encoders_are_rejected_with_advice(options, message):
    with pytest.raises(ConfigError, match=message):
        MemAEOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "csn_r50", "form": "image"}, "only form=video takes clips"),
        ({"encoder": "csn_r50", "width": 8}, "only encoder=plain"),
        ({"weights": "a.pth", "freeze_encoder": True}, "weights and freeze_encoder with encoder=plain"),
        ({"temporal": "stem8"}, "temporal with encoder=plain"),
    ],
)
def test_conflicting_options_are_rejected(options, message):
    with pytest.raises(ValidationError, match=message):
        MemAEOptions(**options)


def test_images_have_no_clip_encoder():
    with pytest.raises(ConfigError, match="only form=video takes clips"):
        MemAE.adapt_options(MemAEOptions(encoder="csn_r50"), data="images", longer_side=320)


def test_unknown_temporal_downsampling_is_rejected():
    with pytest.raises(ConfigError, match="'stem8' is only for SlowOnly"):
        on_meta_device("csn_r50", TINY, temporal="stem8")
    with torch.device("meta"):
        assert ClipEncoder("slowonly_r18", 1, "published").strides["layer4"] == (1, 32, 32)
