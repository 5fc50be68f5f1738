"""offnormal fit DETECTOR FOLDER: the folder without a flag."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
from PIL import Image

from offnormal.cli.main import run
from tests.data import published


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for folder in ("good", "test/good", "test/scratched"):
        (root / folder).mkdir(parents=True)
        for index in range(6):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(root / folder / f"{index}.png")
    return root


def test_a_plain_folder_of_normal_images_is_enough(images, tmp_path, capsys):
    assert run(["fit", "pixel_gaussian", str(images / "good"), "--size", "32", "--out", str(tmp_path)]) == 0
    assert "6 normal images at 32x32 px" in capsys.readouterr().out


def test_next_to_a_test_folder_it_holds_the_normal_images(images, tmp_path, capsys):
    arguments = ["fit", "pixel_gaussian", str(images / "good"), "--test", str(images / "test")]
    assert run([*arguments, "--size", "32", "--out", str(tmp_path)]) == 0
    assert "6 normal images" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--data", "--normal"])
def test_the_training_data_are_named_once(images, capsys, flag):
    assert run(["fit", "pixel_gaussian", str(images / "good"), flag, str(images / "test")]) == 2
    assert f"and {flag} {images / 'test'}: expected the training data once" in capsys.readouterr().err


def test_a_flag_takes_one_value_and_leaves_the_folder_alone(images, tmp_path, capsys):
    arguments = ["fit", "padim", "--layers", "blocks.1", str(images / "good"), "--size", "64", "--out", str(tmp_path)]
    assert run(arguments) == 0
    assert "6 normal images" in capsys.readouterr().out


@pytest.fixture(scope="module")
def loco(tmp_path_factory):
    root = tmp_path_factory.mktemp("loco")
    published.mvtec_loco(root)
    return root / "breakfast_box"


def test_the_first_lines_are_the_training_data_by_folder(loco, tmp_path, capsys):
    assert run(["fit", "pixel_gaussian", str(loco), "--size", "16", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "training data of breakfast_box (layout mvtec_loco):"
    assert lines[1] == f"  {loco}/train/good: 4 normal images"
    assert "held-out" in " ".join(lines) or "held out" in " ".join(lines)
    (log,) = tmp_path.glob("*/log.jsonl")
    assert json.loads(log.read_text().splitlines()[0])["folders"] == {str(loco / "train/good"): 4}


def test_with_json_they_are_on_stderr(loco, tmp_path, capsys):
    assert run(["fit", "pixel_gaussian", str(loco), "--size", "16", "--out", str(tmp_path), "--json"]) == 0
    output = capsys.readouterr()
    values = json.loads(output.out)
    assert values["calibration"]["kind"] == "held_out" and values["calibration"]["normals"] == 3
    assert "train/good: 4 normal images" in output.err


def test_a_tree_with_a_split_is_refused_with_the_options_that_read_it(tmp_path, capsys):
    for folder in ("Training/gut", "Test/gut", "Test/defekt"):
        published.images(tmp_path / "Teile" / folder, 3)
    (tmp_path / "Teile/Training/gut/000.png").rename(tmp_path / "Teile/Training/gut/x.png")  # not frames of a video
    assert run(["fit", "pixel_gaussian", str(tmp_path / "Teile"), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    options = shlex.split(error.partition("Read it with: ")[2].partition(". If")[0])
    assert options[::2] == ["--normal", "--test"]
    assert run(["fit", "pixel_gaussian", *options, "--size", "16", "--out", str(tmp_path)]) == 0
    assert "gut: 3 normal images" in capsys.readouterr().out


def test_a_mask_suffix_excludes_masks_and_defects(tmp_path, capsys):
    published.kolektor_sdd2(tmp_path / "set")
    arguments = [str(tmp_path / "set/train"), "--mask-suffix", "_GT", "--size", "16", "--out", str(tmp_path)]
    assert run(["fit", "pixel_gaussian", *arguments]) == 0
    assert "train: 4 normal images" in capsys.readouterr().out


def test_a_mixed_folder_does_not_set_a_threshold(loco, tmp_path, capsys):
    assert run(["fit", "pixel_gaussian", str(loco), "--size", "16", "--out", str(tmp_path)]) == 0
    (fitted,) = tmp_path.glob("*-pixel_gaussian-*")
    published.images(tmp_path / "more/lot", 3)
    published.images(tmp_path / "more/ng", 1)
    assert run(["calibrate", str(fitted), "--normal", str(tmp_path / "more")]) == 2
    assert "ng: 1 file (anomalous)" in capsys.readouterr().err
    assert run(["calibrate", str(fitted), "--normal", str(tmp_path / "more"), "--layout", "folder", "--dry-run"]) == 0
