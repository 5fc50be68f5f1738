"""offnormal fit DETECTOR FOLDER: the folder without a flag."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from offnormal.cli.main import run


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
