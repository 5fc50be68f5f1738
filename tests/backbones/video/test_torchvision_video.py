import pytest
import torch
from torch import nn
from torchvision.models import video

from offnormal.backbones.video.catalogue import build_embedder, build_encoder
from offnormal.backbones.video.torchvision_video import NETWORKS
from offnormal.errors import ConfigError, WeightsError

SIZES = {"s3d": (16, 224, 224), "swin3d_t": (4, 64, 64)}


def library(name):
    """torchvision's own network, in eval mode, its batch statistics not 0 and 1."""
    torch.manual_seed(0)
    network = getattr(video, name)(weights=None).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


@pytest.mark.parametrize("name", NETWORKS)
def test_embedding_equals_the_classifier_input_of_the_library(name, tmp_path):
    """With the library's classifier behind it, it gives the library's logits."""
    reference = library(name)
    torch.save(reference.state_dict(), tmp_path / "w.pth")
    backbone = build_embedder(name)
    backbone.load_pretrained(tmp_path / "w.pth")
    clip = torch.rand(1, 3, *SIZES.get(name, (8, 48, 48)))
    with torch.inference_mode():
        embedding = backbone.eval().embed(clip)
        classifier = getattr(reference, NETWORKS[name].classifier)
        logits = classifier(embedding[..., None, None, None]).flatten(1) if name == "s3d" else classifier(embedding)
        torch.testing.assert_close(logits, reference(backbone.normalize(clip)), rtol=1e-4, atol=1e-5)
    assert embedding.shape[1] == backbone.card.embedding


@pytest.mark.parametrize("temporal", ["published", "mixed"])
@pytest.mark.parametrize("name", NETWORKS)
def test_stages_have_their_stated_channels_and_strides(name, temporal):
    with torch.device("meta"):
        encoder = build_encoder(name, in_channels=1, temporal=temporal)
    for stage in encoder.stages((16, 224, 224)):
        assert stage.channels == encoder.channels[stage.name]
        assert stage.size == tuple(n // s for n, s in zip((16, 224, 224), encoder.strides[stage.name], strict=True))


def test_mc3_downsamples_time_only_as_an_encoder():
    with torch.device("meta"):
        assert build_embedder("mc3_18").stages((15, 64, 64))[-1].size == (15, 4, 4)
        assert build_encoder("mc3_18").stages((15, 64, 64))[-1].size == (2, 4, 4)
        with pytest.raises(ConfigError, match="SlowOnly"):
            build_encoder("mc3_18", temporal="stem8")


def test_cards_equal_the_data_of_torchvision():
    with torch.device("meta"):
        card = build_embedder("r2plus1d_18").card
    assert (card.mean, card.size, card.published) == (
        (0.43216, 0.394666, 0.37645),
        (112, 112),
        "r2plus1d_18-91a641e6.pth",
    )
    assert card.top1 == pytest.approx(67.46, abs=0.01)


def test_gray_clips_get_the_sum_of_the_stem_over_the_colors(tmp_path):
    reference = library("r3d_18")
    torch.save(reference.state_dict(), tmp_path / "w.pth")
    gray = build_embedder("r3d_18", in_channels=1)
    gray.load_pretrained(tmp_path / "w.pth")
    weight = reference.stem[0].weight
    torch.testing.assert_close(gray.trunk.stem[0].weight, weight.sum(1, keepdim=True))
    assert gray.embed(torch.rand(1, 1, 8, 32, 32)).shape == (1, 512)


def test_a_wrong_clip_size_is_refused_with_the_training_size():
    with torch.device("meta"):
        encoder = build_encoder("s3d")
    with pytest.raises(ConfigError, match=r"1x8x8.*128x224x224"):
        encoder.stages((1, 8, 8))


def test_without_file_and_network_the_error_names_the_flag(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with torch.device("meta"):
        backbone = build_embedder("r3d_18")
    with pytest.raises(WeightsError, match=r"r3d_18 are not on this machine.*--weights FILE"):
        backbone.load_pretrained()
