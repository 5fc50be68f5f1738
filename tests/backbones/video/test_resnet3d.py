from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from offnormal.backbones.video.catalogue import build_embedder, build_encoder
from offnormal.backbones.video.resnet3d import ResNet3d
from offnormal.errors import ConfigError, WeightsError
from tests.backbones.video.naive import with_statistics


def meta(name, **more):
    with torch.device("meta"):
        return ResNet3d(name, **more)


@pytest.mark.parametrize(
    ("name", "code", "millions"),
    [
        ("slowonly_r18", (512, 2, 8, 8), 31.8),
        ("slowonly_r34", (512, 2, 8, 8), 60.8),
        ("slowonly_r50", (2048, 2, 8, 8), 31.6),
        ("csn_r50", (2048, 2, 8, 8), 12.3),
        ("csn_r152", (2048, 2, 8, 8), 28.9),
        ("resnet3d_r18", (512, 2, 8, 8), 33.15),
        ("resnet3d_r34", (512, 2, 8, 8), 63.5),
    ],
)
def test_codes_of_15_gray_frames_of_256_pixels_match_the_reference_networks(name, code, millions):
    encoder = meta(name, in_channels=1, temporal="mixed")
    stages = encoder.stages((15, 256, 256))
    assert (stages[-1].channels, *stages[-1].size) == code
    assert sum(p.numel() for p in encoder.trunk.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize("temporal", ["published", "mixed"])
@pytest.mark.parametrize("name", ["slowonly_r18", "csn_r50", "resnet3d_r18"])
def test_stages_have_their_stated_channels_and_strides(name, temporal):
    encoder = meta(name, temporal=temporal)
    for stage in encoder.stages((15, 70, 45)):
        assert stage.channels == encoder.channels[stage.name]
        expected = tuple(-(-n // s) for n, s in zip((15, 70, 45), encoder.strides[stage.name], strict=True))
        assert stage.size == expected


def used_frames(encoder: ResNet3d, frames: int = 15) -> list[bool]:
    """Which frames of a clip the code depends on."""
    clip = torch.rand(1, 1, frames, 32, 32, requires_grad=True)
    encoder.eval()(clip)["layer4"].square().sum().backward()
    return [bool(value > 0) for value in clip.grad.abs().sum((0, 1, 3, 4))]


@pytest.mark.parametrize("name", ["slowonly_r18", "slowonly_r50", "csn_r50", "resnet3d_r18"])
def test_no_frame_is_dropped(name):
    assert all(used_frames(with_statistics(ResNet3d(name, in_channels=1, temporal="mixed"))))


def test_stem8_drops_frames_with_a_warning(caplog):
    encoder = with_statistics(ResNet3d("slowonly_r18", in_channels=1, temporal="stem8"))
    assert "one frame of eight" in caplog.text
    assert [n for n, is_used in enumerate(used_frames(encoder)) if is_used] == [0, 8]
    assert encoder.stages((15, 256, 256))[-1].size == (2, 8, 8)
    with pytest.raises(ConfigError, match="SlowOnly"):
        meta("csn_r50", temporal="stem8")


@pytest.fixture(scope="module")
def slowonly():
    torch.manual_seed(0)
    return with_statistics(ResNet3d("slowonly_r50")).eval()


def published(backbone: ResNet3d) -> dict[str, torch.Tensor]:
    """As a published checkpoint, classifier included."""
    head = {"blocks.5.proj.weight": torch.zeros(400, 2048), "blocks.5.proj.bias": torch.zeros(400)}
    return {**backbone.trunk.state_dict(), **head}


@pytest.mark.parametrize("suffix", [".pyth", ".pth", ".safetensors"])
def test_published_checkpoints_load_and_give_their_embeddings(slowonly, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    state = published(slowonly)
    save_file(state, path) if suffix == ".safetensors" else torch.save({"model_state": state}, path)
    loaded = build_embedder("slowonly_r50")
    loaded.load_pretrained(path)
    clip = torch.rand(1, 3, 4, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded.eval().embed(clip), slowonly.embed(clip))
    assert loaded.card.source == path.name and len(loaded.card.sha256) == 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("blocks.3.res_blocks.1.branch2.conv_b.weight"), r"1 of 318 tensors missing"),
        (lambda state: state.update({"blocks.9.weight": torch.zeros(2)}), r"tensors unknown, first blocks\.9"),
        (
            lambda state: state.update({"blocks.0.conv.weight": torch.zeros(64, 3, 5, 7, 7)}),
            r"expected \(64, 3, 1, 7, 7\)",
        ),
    ],
)
def test_other_checkpoints_are_refused_by_name(slowonly, tmp_path, change, message):
    state = published(slowonly)
    change(state)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=message):
        build_embedder("slowonly_r50").load_pretrained(tmp_path / "w.pth")


def test_gray_clips_get_the_sum_of_the_stem_over_the_colors(slowonly, tmp_path):
    """Mean and spread are the same for the three colors here, so that gray equals three colors alike exactly."""
    torch.save(published(slowonly), tmp_path / "w.pth")
    gray = build_embedder("slowonly_r50", in_channels=1)
    gray.load_pretrained(tmp_path / "w.pth")
    clip = torch.rand(1, 1, 4, 64, 64)
    with torch.inference_mode():
        expected = slowonly.embed(clip.expand(-1, 3, -1, -1, -1))
        torch.testing.assert_close(gray.eval().embed(clip), expected, rtol=1e-3, atol=1e-4)


def test_errors_name_the_source_of_weights(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match=r"SLOW_8x8_R50\.pyth.*--weights FILE"):
        build_embedder("slowonly_r50").load_pretrained()
    with pytest.raises(WeightsError, match="resnet3d_r18: no published weights"):
        build_embedder("resnet3d_r18").load_pretrained()
    with pytest.raises(WeightsError, match="no such file"):
        build_embedder("slowonly_r18").load_pretrained(Path(tmp_path / "none.pth"))


def test_weights_without_commercial_use_log_a_warning(tmp_path, caplog):
    backbone = build_embedder("csn_r50")
    torch.save(backbone.trunk.state_dict(), tmp_path / "w.pth")
    backbone.load_pretrained(tmp_path / "w.pth")
    assert "not for commercial use" in caplog.text and "CC-BY-NC" in caplog.text


def test_a_frozen_network_changes_only_in_its_trainable_parts():
    encoder = build_encoder("slowonly_r18", in_channels=1)
    encoder.freeze(trainable=["blocks.4.res_blocks.1"])
    encoder.train()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder(torch.rand(2, 1, 8, 32, 32))["layer4"].sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    learning = [name for name, parameter in encoder.trunk.named_parameters() if parameter.grad is not None]
    assert learning and all(name.startswith("blocks.4.res_blocks.1.") for name in learning)
    with pytest.raises(ConfigError, match="no trainable part 'layer9'"):
        encoder.freeze(trainable=["layer9"])


def test_an_unfrozen_encoder_updates_its_batch_statistics():
    encoder = build_encoder("slowonly_r18", in_channels=1).train()
    before = encoder.trunk.blocks[0].norm.running_mean.clone()
    encoder(torch.rand(2, 1, 8, 32, 32))
    assert not torch.equal(before, encoder.trunk.blocks[0].norm.running_mean)


def test_a_dry_run_of_stages_changes_nothing():
    encoder = build_encoder("slowonly_r18", in_channels=1).train()
    encoder.stages((15, 64, 64))
    assert encoder.training and {value.device.type for value in encoder.state_dict().values()} == {"cpu"}


def test_clips_have_one_channel_or_three():
    with pytest.raises(ConfigError, match="2 channels"):
        build_encoder("slowonly_r18", in_channels=2)
