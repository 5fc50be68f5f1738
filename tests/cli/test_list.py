import json

import pytest

from offnormal.cli.main import run


def test_backbones_of_pictures_and_of_clips_are_listed(capsys):
    assert run(["list", "backbones"]) == 0
    out = capsys.readouterr().out
    assert "efficientnet_lite0" in out and "slowonly_r50" in out and "non-commercial" in out


def test_one_backbone_is_shown_with_what_it_makes_of_an_input(capsys):
    assert run(["list", "backbones", "csn_r50", "--input", "1x15x256x256"]) == 0
    out = capsys.readouterr().out
    assert "code 2048x2x8x8 of 1x15x256x256" in out and "12.3 M parameters" in out
    assert run(["list", "backbones", "csn_r50", "--input", "1x15x256x256", "--json"]) == 0
    assert "decoder 3 x" not in out and out.count("  decoder ") == 5
    assert "decoder 1024x4x16x16: kernel 3x3x3, stride 2x2x2, output padding 1x1x1" in out
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert row["decoder"][-1]["channels"] == 1 and row["decoder"][-1]["size"] == [15, 256, 256]
    assert row["code"] == [2048, 2, 8, 8] and row["stages"]["stem"] == [64, 15, 128, 128] and "notes" not in row


def test_a_code_that_the_decoder_does_not_expect_is_said_to_be_resized(capsys):
    assert run(["list", "backbones", "s3d", "--input", "15x97x130"]) == 0
    assert capsys.readouterr().out.count("its input resized to 2x4x5") == 1


def test_a_search_narrows_down_what_is_computed(capsys):
    assert run(["list", "backbones", "--input", "8x64x64", "--search", "slowonly", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == ["slowonly_r18", "slowonly_r34", "slowonly_r50"]
    assert not any("decoder" in row for row in rows)


def test_the_notation_of_layouts_is_explained(capsys):
    assert run(["list", "layouts"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Notation: [optional], <one|of|these>")


def test_one_detector_or_backbone_of_pictures_by_name(capsys):
    assert run(["list", "detectors", "padim"]) == 0
    assert capsys.readouterr().out.startswith("padim")
    assert run(["list", "backbones", "resnet18"]) == 0
    assert capsys.readouterr().out.startswith("resnet18")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["backbones", "csn_r51"], "unknown backbone 'csn_r51'"),
        (["backbones", "csn_r51", "--input", "15x64x64"], "did you mean"),
        (["detectors", "padin"], "did you mean 'padim'"),
        (["backbones", "csn_r50", "--input", "big"], "such as 15x256x256"),
        (["backbones", "csn_r50", "--time"], "--time needs --input"),
        (["detectors", "--input", "15x64x64"], "list backbones"),
    ],
)
def test_mistakes_are_answered(arguments, message, capsys):
    assert run(["list", *arguments]) == 2
    assert message in capsys.readouterr().err
