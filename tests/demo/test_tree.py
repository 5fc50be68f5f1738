from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from offnormal.demo import generate, tree
from offnormal.demo.damage import DEFECTS
from offnormal.errors import DataError, UsageError

SMALL = {"train": 3, "test_good": 2, "per_defect": 2, "size": 64}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "flange"
    generate(folder, **SMALL, seed=4)
    return folder


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_layout_is_complete(root):
    expected = {"README.txt", "demo.json"}
    expected |= {f"train/good/{n:03d}.png" for n in range(3)} | {f"test/good/{n:03d}.png" for n in range(2)}
    for defect in DEFECTS:
        expected |= {f"test/{defect}/{n:03d}.png" for n in range(2)}
        expected |= {f"ground_truth/{defect}/{n:03d}_mask.png" for n in range(2)}
    assert set(files(root)) == expected


def test_there_are_four_defects():
    assert set(DEFECTS) == {"scratch", "hole", "stain", "missing_piece"}


def test_images_are_rgb_and_masks_black_and_white(root):
    for path in root.rglob("*.png"):
        with Image.open(path) as image:
            assert image.size == (64, 64)
            mask = "ground_truth" in path.parts
            assert image.mode == ("L" if mask else "RGB")
            if mask:
                assert set(np.unique(np.asarray(image))) == {0, 255}


def test_the_readme_states_synthetic_images_and_the_seed(root):
    text = (root / "README.txt").read_text()
    assert "Synthetic" in text
    assert "seed 4" in text


def test_the_seed_determines_the_images(root, tmp_path):
    generate(tmp_path / "same", **SMALL, seed=4)
    generate(tmp_path / "other", **SMALL, seed=5)
    assert files(tmp_path / "same") == files(root)
    changed = files(tmp_path / "other")
    assert all(changed[name] != content for name, content in files(root).items() if name.startswith("train"))


def test_an_image_does_not_depend_on_the_number_of_images(root, tmp_path):
    generate(tmp_path / "more", train=1, test_good=3, per_defect=1, extra_good=2, size=64, seed=4)
    more, few = files(tmp_path / "more"), files(root)
    common = {name for name in set(more) & set(few) if name.endswith(".png")}
    assert {"train/good/000.png", "test/good/001.png", "test/stain/000.png"} <= common
    assert all(more[name] == few[name] for name in common)
    assert {"extra/good/000.png", "extra/good/001.png"} <= set(more)


def test_no_image_occurs_twice(tmp_path):
    generate(tmp_path / "set", train=2, test_good=2, per_defect=1, extra_good=2, size=64)
    images = [content for name, content in files(tmp_path / "set").items() if "good" in name]
    assert len(set(images)) == len(images) == 6


def test_severities_range_from_subtle_to_obvious():
    recipe = tree.Recipe(train=0, test_good=0, per_defect=12, extra_good=0, size=64, seed=0)
    for defect in DEFECTS:
        severities = [entry.severity for entry in tree.plan(recipe) if entry.defect == defect]
        assert severities[0] > 0.8
        severities.sort()
        assert severities[0] < 0.1
        assert severities[-1] > 0.9
        assert np.diff(severities).max() < 0.2


def test_progress_counts_every_image(tmp_path):
    calls = []
    generate(tmp_path / "set", **SMALL, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 13) for done in range(1, 14)]


def test_the_same_set_is_not_written_again(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    generate(root, **SMALL, seed=4, progress=lambda done, total: pytest.fail("drawn again"))
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    generate(tmp_path / "empty", train=1, test_good=0, per_defect=0, size=64)
    assert (tmp_path / "empty/train/good/000.png").is_file()


def test_refuses_a_folder_with_other_files(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(DataError, match=r"not empty.*choose another folder"):
        generate(tmp_path, **SMALL)
    assert files(tmp_path) == {"photo.jpg": b"precious"}


def test_refuses_another_set(root):
    before = files(root)
    with pytest.raises(DataError, match=r"another demo dataset.*choose another folder"):
        generate(root, **SMALL, seed=5)
    assert files(root) == before


def test_refuses_an_incomplete_dataset(tmp_path):
    generate(tmp_path / "set", train=2, test_good=0, per_defect=0, size=64)
    (tmp_path / "set/train/good/001.png").unlink()
    with pytest.raises(DataError, match=r"1 file of the demo dataset missing.*train/good/001\.png"):
        generate(tmp_path / "set", train=2, test_good=0, per_defect=0, size=64)


@pytest.mark.parametrize("content", ["", "[]", "null", "{"])
def test_refuses_a_foreign_recipe_file(tmp_path, content):
    (tmp_path / "demo.json").write_text(content)
    with pytest.raises(DataError, match="choose another folder"):
        generate(tmp_path, **SMALL)


def test_refuses_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file"):
        generate(tmp_path / "file", **SMALL)
    with pytest.raises(DataError, match="could not be written"):
        generate(tmp_path / "file" / "below", **SMALL)


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "set", **SMALL, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_visible_before_the_dataset_is_complete(tmp_path):
    generate(tmp_path / "set", **SMALL, progress=lambda done, total: (tmp_path / "set").exists() and pytest.fail())
    assert json.loads((tmp_path / "set/demo.json").read_text())["train"] == 3


@pytest.mark.parametrize(
    "wrong", [{"train": -1}, {"test_good": -1}, {"per_defect": -2}, {"extra_good": -1}, {"seed": -1}, {"size": 32}]
)
def test_refuses_invalid_numbers(tmp_path, wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        generate(tmp_path / "set", **(SMALL | wrong))
    assert list(tmp_path.iterdir()) == []


def test_import_does_not_load_torch():
    code = "import sys, offnormal.demo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
