import pytest
import torch
from safetensors.torch import save_file

from offnormal.backbones import images
from offnormal.backbones.images import TimmBackbone, backbone_names, input_multiple
from offnormal.backbones.weights import lite0_file, read_weights
from offnormal.errors import ConfigError, WeightsError


@pytest.fixture(scope="module")
def lite0():
    backbone = TimmBackbone("efficientnet_lite0")
    backbone.load_pretrained()
    return backbone


def test_the_default_has_its_known_layers_channels_and_strides(lite0):
    assert lite0.channels == {"blocks.1": 24, "blocks.2": 40, "blocks.4": 112}
    assert lite0.strides == {"blocks.1": (4, 4), "blocks.2": (8, 8), "blocks.4": (16, 16)}
    assert lite0.card.mean == lite0.card.std == (0.5, 0.5, 0.5)
    assert lite0.card.license == "Apache-2.0"
    assert lite0.card.sha256.startswith("579344248a93")


def test_the_packaged_weights_match_the_timm_network(lite0):
    """Every tensor in its place: the whole network, loaded strictly by order, gives the same features."""
    import timm

    whole = timm.create_model("tf_efficientnet_lite0").eval()
    stored = list(read_weights(lite0_file()).values())
    whole.load_state_dict(dict(zip(whole.state_dict(), stored, strict=True)), strict=True)
    x = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        expected = whole.forward_intermediates((x - 0.5) / 0.5, indices=[1, 2, 3], intermediates_only=True)
        features = lite0(x)
    for name, reference in zip(lite0.channels, expected, strict=True):
        torch.testing.assert_close(features[name], reference, rtol=1e-3, atol=1e-4)  # folding rounds otherwise


def test_features_have_their_stated_channels_and_strides(lite0):
    with torch.inference_mode():
        for name, features in lite0(torch.rand(1, 3, 64, 96)).items():
            stride = lite0.strides[name][0]
            assert features.shape == (1, lite0.channels[name], 64 // stride, 96 // stride)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_100", "convnext_atto"])
def test_any_timm_network_gives_the_layers_at_strides_4_8_16(name):
    backbone = TimmBackbone(name)
    assert [strides[0] for strides in backbone.strides.values()] == [4, 8, 16]


def test_plain_transformers_give_layers_of_one_stride_at_any_size():
    backbone = TimmBackbone("vit_tiny_patch16_224")
    features = backbone(torch.rand(1, 3, 64, 96))
    assert [tuple(f.shape) for f in features.values()] == [(1, 192, 4, 6)] * 3
    assert input_multiple("vit_tiny_patch16_224") == 16


def test_torchvision_weights_load_into_resnet18_and_give_its_features(tmp_path):
    from torchvision.models import resnet18

    torch.manual_seed(0)
    reference = resnet18(weights=None).eval()
    with torch.no_grad():
        for module in reference.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    for path, save in ((tmp_path / "w.pth", torch.save), (tmp_path / "w.safetensors", save_file)):
        save(reference.state_dict(), path)
        backbone = TimmBackbone("resnet18")
        backbone.load_pretrained(path)
        x = torch.rand(1, 3, 64, 64)
        y = reference.maxpool(reference.relu(reference.bn1(reference.conv1(backbone.normalize(x)))))
        for layer, features in backbone(x).items():
            y = getattr(reference, layer)(y)
            torch.testing.assert_close(features, y, rtol=1e-4, atol=1e-4)  # another memory format rounds otherwise
        assert backbone.card.source == path.name


def test_weights_of_another_network_are_refused(tmp_path, lite0):
    save_file({"a": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="missing"):
        TimmBackbone("resnet18").load_pretrained(tmp_path / "w.safetensors")
    state = TimmBackbone("resnet18").trunk.state_dict()
    state = {key.removeprefix("model."): value.contiguous() for key, value in state.items()}
    state["conv1.weight"] = torch.zeros(3, 3, 7, 7)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"conv1\.weight has shape \(3, 3, 7, 7\)"):
        TimmBackbone("resnet18").load_pretrained(tmp_path / "w.safetensors")


def test_a_backbone_stays_in_evaluation_mode(lite0):
    before = {key: value.clone() for key, value in lite0.state_dict().items()}
    lite0.train()
    lite0(torch.rand(2, 3, 64, 64))
    assert all(torch.equal(value, before[key]) for key, value in lite0.state_dict().items())
    assert not any(parameter.requires_grad for parameter in lite0.parameters())


def test_errors_for_unknown_names_and_layers_list_known_ones():
    with pytest.raises(ConfigError, match="resnet18"):
        TimmBackbone("resnet19")
    with pytest.raises(ConfigError, match=r"blocks\.1"):
        TimmBackbone("efficientnet_lite0", ["blocks.77"])


def test_recipes_come_before_timm_networks():
    names = backbone_names()
    assert names[: len(images.RECIPES)] == list(images.RECIPES)
    assert len(names) > 500
