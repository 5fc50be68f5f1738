import copy

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from offnormal.backbones import images
from offnormal.backbones.folding import find_pairs, fold, has_same_output, unfold
from offnormal.backbones.images import TimmBackbone


def network(name, *, device=None, **more):
    with torch.device(device or "cpu"):
        return timm.create_model(name, features_only=True, feature_cls="getter", out_indices=[0, 1, 2], **more).eval()


def with_statistics(trunk):
    generator = torch.Generator().manual_seed(0)
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.3, generator=generator)
    return trunk


@pytest.mark.parametrize(
    ("name", "joined"),
    [("tf_efficientnet_lite0", 15), ("resnet18", 10), ("resnetv2_50", 14), ("densenet121", 19), ("convnext_atto", 0)],
)
def test_folded_networks_have_equal_features_and_can_be_unfolded(name, joined):
    plain = with_statistics(network(name))
    pairs = find_pairs(network(name, device="meta"), (64, 64))
    assert len(pairs) == joined
    folded = copy.deepcopy(plain)
    fold(folded, pairs)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in folded.modules()) == (
        sum(isinstance(m, nn.BatchNorm2d) for m in plain.modules()) - joined
    )
    x = torch.rand(2, 3, 64, 96)
    back = network(name)
    unfold(back, folded.state_dict(), pairs)
    with torch.inference_mode():
        outputs = list(zip(plain(x), folded(x), back(x), strict=True))
    for expected, fast, restored in outputs:
        scale = float(expected.abs().max())
        torch.testing.assert_close(fast, expected, rtol=0, atol=1e-5 * scale)
        torch.testing.assert_close(restored, expected, rtol=0, atol=1e-5 * scale)
    assert has_same_output(plain, folded, (64, 64))


def test_a_difference_is_detected():
    plain = with_statistics(network("resnet18"))
    changed = copy.deepcopy(plain)
    with torch.no_grad():
        changed.model.layer1[0].conv1.weight[0] += 1
    assert not has_same_output(plain, changed, (64, 64))


@pytest.mark.parametrize("same", [True, False])
def test_a_saved_backbone_is_loaded_in_its_saved_form(same, tmp_path, monkeypatch):
    state = with_statistics(timm.create_model("resnet18")).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    if not same:  # a network that folding would change stays as it is
        monkeypatch.setattr(images, "has_same_output", lambda *_: False)
    fitted = TimmBackbone("resnet18")
    fitted.load_pretrained(tmp_path / "w.safetensors")
    assert any("running_var" in key for key in fitted.state_dict()) is not same
    loaded = TimmBackbone("resnet18")
    loaded.load_state_dict(fitted.state_dict(), strict=True)
    x = torch.rand(1, 3, 64, 64)
    for name, features in fitted(x).items():
        assert torch.equal(loaded(x)[name], features)
    expected = fitted.reference()(fitted.normalize(x))
    for before, after in zip(expected, loaded.reference()(loaded.normalize(x)), strict=True):
        torch.testing.assert_close(before, after)


@pytest.mark.parametrize("axes", [2, 3])
def test_transposed_convolutions_of_images_and_clips_are_folded(axes):
    convolution, transposed, norm = (
        (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d),
        (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d),
    )[axes - 2]
    torch.manual_seed(0)
    encoder = [convolution(2, 5, 3, 2, 1), norm(5), nn.ReLU()]
    plain = nn.Sequential(*encoder, transposed(5, 4, 3, 2, 1), norm(4), nn.ReLU(), transposed(4, 2, 3))
    plain.train()(torch.rand(4, 2, *[9] * axes))
    plain.eval()
    pairs = find_pairs(plain, (9,) * axes, channels=2)
    assert pairs == [("0", "1"), ("3", "4")]
    folded = copy.deepcopy(plain)
    fold(folded, pairs)
    x = torch.rand(2, 2, *[9] * axes)
    torch.testing.assert_close(folded(x), plain(x), atol=1e-5, rtol=1e-4)
