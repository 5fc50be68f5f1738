import doctest

import pytest

from offnormal.backbones.video import overview
from offnormal.backbones.video.overview import describe, parse_input
from offnormal.errors import ConfigError


def test_an_encoder_is_described_with_its_stages_code_and_cost():
    row = describe("slowonly_r18", (1, 15, 256, 256))
    assert row["code"] == (512, 2, 8, 8)
    assert list(row["stages"]) == ["stem", "layer1", "layer2", "layer3", "layer4"]
    assert row["parameters"] == pytest.approx(31.81e6, rel=1e-3)
    assert "code 512x2x8x8 of 1x15x256x256" in row["notes"]
    assert "seconds" not in row


def test_an_embedder_is_described_with_its_embedding():
    row = describe("slowfast_r50", (3, 15, 64, 64))
    assert row["embedding"] == 2304 and "code" not in row


def test_without_an_input_there_is_the_card():
    row = describe("csn_r50")
    assert (row["frames"], row["size"], row["non_commercial"]) == (32, (224, 224), True)
    assert any("not for commercial use" in note for note in row["notes"])
    assert any("layer4 2048 / 8x32x32" in note for note in row["notes"])
    assert any("no encoder: its two pathways" in note for note in describe("slowfast_r50")["notes"])


def test_time_is_measured_on_request():
    row = describe("slowonly_r18", (1, 4, 16, 16), time=True)
    assert row["notes"][-1].endswith("s per clip")


def test_a_wrong_clip_size_is_a_note():
    assert "clips of 1x8x8 (TxHxW) have a wrong size" in describe("s3d", (3, 1, 8, 8))["problem"]


@pytest.mark.parametrize("text", ["15x256", "15,256,256", "0x256x256", "2x15x256x256", "15x256x256x3x1", ""])
def test_invalid_inputs_are_refused(text):
    with pytest.raises(ConfigError, match="15x256x256"):
        parse_input(text)


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="'slowonly_r19'"):
        describe("slowonly_r19")


def test_doctests():
    assert doctest.testmod(overview).failed == 0
