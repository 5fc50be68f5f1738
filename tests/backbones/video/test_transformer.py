import logging
from dataclasses import replace

import pytest
import torch

from offnormal.backbones.video import transformer
from offnormal.backbones.video.catalogue import build_embedder
from offnormal.backbones.video.inference import optimize_for_inference
from offnormal.errors import WeightsError

transformers = pytest.importorskip("transformers")

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
OPTIONS = {
    "timesformer_b": {**TINY, "intermediate_size": 32},
    "videomae_b": {**TINY, "intermediate_size": 32},
    "vivit_b": {**TINY, "intermediate_size": 32},
    "vjepa2_l": {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "pred_hidden_size": 24}
    | {"pred_num_attention_heads": 2, "pred_num_hidden_layers": 1},
}
CLASSIFIER = {"timesformer_b": "TimesformerForVideoClassification", "vivit_b": "VivitForVideoClassification"}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The published networks with few and narrow layers, for small clips."""
    for name, options in OPTIONS.items():
        recipe = replace(transformer.NETWORKS[name], options=options, frames=4, side=32)
        monkeypatch.setitem(transformer.NETWORKS, name, recipe)


def jittered(model):
    """Biases, offsets and tokens start at 0 or 1; with other values a wrong place shows."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


@pytest.mark.parametrize("name", OPTIONS)
def test_embedding_equals_the_library(name):
    backbone = build_embedder(name)
    jittered(backbone.trunk)
    clip = torch.rand(2, 3, 4, 32, 32)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.card.mean, backbone.card.std))
    eaten = torch.stack([torch.stack([(clip[n, :, t] - mean) / std for t in range(4)]) for n in range(2)])
    more = {"skip_predictor": True} if name == "vjepa2_l" else {}
    with torch.inference_mode():
        tokens = backbone.trunk(eaten, **more).last_hidden_state
        expected = tokens[:, 0] if name in ("timesformer_b", "vivit_b") else tokens.mean(1)
        torch.testing.assert_close(backbone.embed(clip), expected)
    assert expected.shape[1] == backbone.card.embedding


@pytest.mark.parametrize("name", OPTIONS)
def test_the_optimized_copy_has_equal_output(name):
    backbone = build_embedder(name, in_channels=1)
    jittered(backbone.trunk)
    clip = torch.rand(2, 1, 5, 40, 40)
    with torch.inference_mode():
        torch.testing.assert_close(
            optimize_for_inference(backbone, (5, 40, 40)).embed(clip), backbone.embed(clip), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("name", ["timesformer_b", "videomae_b", "vivit_b"])
def test_checkpoints_of_classifiers_load(name, tmp_path):
    """The library writes the names under which they were published, not those of its modules."""
    family = transformer.NETWORKS[name].family
    config = getattr(transformers, f"{family}Config")(num_frames=4, image_size=32, **OPTIONS[name])
    whole = jittered(getattr(transformers, f"{family}ForVideoClassification")(config))
    whole.save_pretrained(tmp_path)
    backbone = build_embedder(name)
    backbone.load_pretrained(tmp_path / "model.safetensors")
    clip = torch.rand(1, 3, 4, 32, 32)
    with torch.inference_mode():
        inner = getattr(whole, transformer.NETWORKS[name].prefix.rstrip("."))
        expected = inner(backbone.normalize(clip).transpose(1, 2)).last_hidden_state
        expected = expected.mean(1) if name == "videomae_b" else expected[:, 0]
        torch.testing.assert_close(backbone.eval().embed(clip), expected)


def test_the_biases_of_videomae_load_under_the_names_of_its_checkpoints(tmp_path):
    published = build_embedder("videomae_b")
    jittered(published.trunk)
    state = {}
    for key, value in published.trunk.state_dict().items():
        name = key.replace("attention.attention.query.bias", "attention.attention.q_bias")
        state["videomae." + name.replace("attention.attention.value.bias", "attention.attention.v_bias")] = value
    state["classifier.weight"], state["fc_norm.weight"] = torch.zeros(400, 16), torch.zeros(16)
    torch.save(state, tmp_path / "w.pth")
    loaded = build_embedder("videomae_b")
    loaded.load_pretrained(tmp_path / "w.pth")
    for key, value in published.trunk.state_dict().items():
        assert torch.equal(loaded.trunk.state_dict()[key], value), key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop("encoder.layer.1.output.dense.bias"),
            "1 of .* missing.*layer.1.output.dense.bias",
        ),
        (lambda state: state.update({"strange": torch.zeros(2)}), "tensors unknown, first strange"),
        (lambda state: state.update({"embeddings.cls_token": torch.zeros(1, 1, 8)}), r"\(1, 1, 8\).*\(1, 1, 16\)"),
    ],
)
def test_other_checkpoints_are_refused_by_name(change, message, tmp_path):
    logging.getLogger("transformers").setLevel(logging.ERROR)
    state = build_embedder("timesformer_b").trunk.state_dict()
    change(state)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=message):
        build_embedder("timesformer_b").load_pretrained(tmp_path / "w.pth")


def test_clips_are_resized_to_the_length_and_size_of_the_network():
    backbone = build_embedder("videomae_b")
    clip = torch.arange(7.0).view(1, 1, 7, 1, 1).expand(1, 3, 7, 40, 48) / 7
    eaten = backbone.prepare(clip)
    assert eaten.shape == (1, 4, 3, 32, 32)
    frames = (eaten * backbone.std[:, :, 0] + backbone.mean[:, :, 0])[0, :, 0, 0, 0]
    torch.testing.assert_close(frames, torch.tensor([0.0, 2, 4, 6]) / 7)


def test_gray_clips_get_the_sum_of_the_patches_over_the_colors(tmp_path):
    color = build_embedder("timesformer_b")
    jittered(color.trunk)
    torch.save(color.trunk.state_dict(), tmp_path / "w.pth")
    gray = build_embedder("timesformer_b", in_channels=1)
    gray.load_pretrained(tmp_path / "w.pth")
    clip = torch.rand(1, 1, 4, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(gray.eval().embed(clip), color.embed(clip.expand(-1, 3, -1, -1, -1)))


def test_weights_without_commercial_use_log_a_warning(tmp_path, caplog):
    torch.save(build_embedder("timesformer_b").trunk.state_dict(), tmp_path / "w.pth")
    build_embedder("timesformer_b").load_pretrained(tmp_path / "w.pth")
    assert "CC-BY-NC-4.0, not for commercial use" in caplog.text
