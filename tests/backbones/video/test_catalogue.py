import importlib.util
import sys

import pytest
import torch

from offnormal import registry
from offnormal.backbones.video.catalogue import build_embedder, build_encoder, encoder_names
from offnormal.errors import ConfigError


def test_encoders_have_a_code():
    assert {"slowonly_r18", "csn_r50", "resnet3d_r18", "r3d_18"} <= set(encoder_names())
    assert not {"slowfast_r50", "timesformer_b", "frames"} & set(encoder_names())
    assert set(encoder_names()) <= set(registry.names("backbones"))


def test_unknown_names_have_a_suggestion():
    with pytest.raises(ConfigError, match="did you mean 'slowonly_r50'"):
        build_embedder("slowonly_r5")


def test_a_network_without_a_code_is_refused_with_the_reason():
    with pytest.raises(
        ConfigError, match=r"slowfast_r50 cannot be an encoder: its two pathways.*expected one of slowonly"
    ):
        build_encoder("slowfast_r50")


def test_transformers_are_no_encoders():
    with pytest.raises(ConfigError, match="timesformer_b cannot be an encoder: its tokens"):
        build_encoder("timesformer_b")


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"install offnormal\[transformers\]"):
        build_embedder("vivit_b")


@pytest.mark.parametrize("name", registry.names("backbones"))
def test_embeddings_of_gray_clips_have_the_length_of_the_card(name):
    target = registry._entries("backbones")[name].target
    if "transformer" in target and importlib.util.find_spec("transformers") is None:
        pytest.skip("needs the extra transformers")
    with torch.device("meta"):
        backbone = build_embedder("frames:efficientnet_lite0" if name == "frames" else name, in_channels=1)
    assert backbone.dry_embedding((15, 224, 224)).shape == (1, backbone.card.embedding)
