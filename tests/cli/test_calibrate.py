"""offnormal calibrate: old and new side by side, warnings, and the ways back."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.errors import score_text


@pytest.fixture
def bundle(plain, tmp_path):
    return shutil.copytree(plain, tmp_path / "run")


@pytest.fixture(scope="module")
def normals(tmp_path_factory):
    """Two folders of normal images, of 40 and of 12."""
    folder, rng = tmp_path_factory.mktemp("normals"), np.random.default_rng(5)
    for name, count in (("monday", 40), ("tuesday", 12)):
        (folder / name).mkdir()
        for number in range(count):
            pixels = rng.normal(120, 20, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")
    return folder


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_old_and_new_stand_side_by_side_and_a_worse_guarantee_is_a_warning(bundle, normals, capsys, caplog):
    old = load(bundle).calibration
    assert run(["calibrate", str(bundle), "--normal", str(normals / "monday")]) == 0
    new = load(bundle).calibration
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["before", "now"] and ["calibration", "1", "2"] in rows
    assert ["threshold", score_text(old.threshold), score_text(new.threshold)] in rows
    assert ["normal", "scores", "30", "40"] in rows and ["source", "fit", str(normals / "monday")] in rows
    assert "worse" not in caplog.text, "more normals, and a lower rate"
    assert run(["calibrate", str(bundle), "--normal", str(normals / "tuesday"), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["number"] == 3 and values["before"]["threshold"] == new.threshold
    assert [reason.partition(":")[0] for reason in values["worse"]] == [
        "a higher rate",
        "fewer normal scores",
        "other data",
    ]
    assert "the guarantee is worse than before (a higher rate: 7.69 % of normal images" in caplog.text
    assert "--undo returns to the old one" in caplog.text


def test_undo_returns_to_the_calibration_before_and_use_to_any(bundle, normals, capsys):
    first = load(bundle).calibration
    for name in ("monday", "tuesday"):
        assert run(["calibrate", str(bundle), "--normal", str(normals / name)]) == 0
    third = load(bundle).calibration
    assert run(["calibrate", str(bundle), "--undo"]) == 0
    assert load(bundle).history.current == 2
    assert run(["calibrate", str(bundle), "--undo", "--json"]) == 0
    assert load(bundle).calibration == first
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["before"]["number"] == 2
    assert run(["calibrate", str(bundle), "--undo"]) == 2
    assert "nothing to undo: the bundle has calibration 1, its first; --use 2 or --use 3" in capsys.readouterr().err
    assert run(["calibrate", str(bundle), "--use", "3"]) == 0
    assert load(bundle).calibration == third
    assert "calibrate" in capsys.readouterr().out
    assert run(["list", "calibrations", str(bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and lines[4].endswith(f"from {normals / 'tuesday'} (current)") and "current" not in lines[0]
    assert lines[1].strip() == first.explanation
    assert run(["list", "calibrations", str(bundle), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["number"], row["is_current"]) for row in rows] == [(1, False), (2, False), (3, True)]


@pytest.mark.parametrize("flags", [["--undo", "--use", "1"], ["--undo", "--rate", "5%"], ["--use", "1", "--dry-run"]])
def test_the_ways_back_take_no_other_flags(bundle, flags, capsys):
    assert run(["calibrate", str(bundle), *flags]) == 2
    assert "returns to an earlier calibration and takes no other flags" in capsys.readouterr().err


def test_a_dry_run_changes_nothing(bundle, normals, tmp_path, capsys):
    before = contents(bundle)
    arguments = ["calibrate", str(bundle), "--normal", str(normals / "monday"), "--dry-run"]
    assert run(arguments) == 0
    assert "unchanged (--dry-run)" in capsys.readouterr().out
    assert run([*arguments, "--out", str(tmp_path / "copy")]) == 0
    assert contents(bundle) == before and not (tmp_path / "copy").exists()


def test_out_leaves_the_bundle_and_writes_a_copy_with_its_history(bundle, normals, tmp_path, capsys):
    before, copy = contents(bundle), tmp_path / "deep/copy"
    arguments = ["calibrate", str(bundle), "--out", str(copy), "--normal"]
    assert run([*arguments, str(normals / "monday")]) == 0
    assert contents(bundle) == before
    assert [entry.number for entry in load(copy).history.entries] == [1, 2]
    assert run([*arguments, str(normals / "tuesday")]) == 0
    assert [entry.number for entry in load(copy).history.entries] == [1, 2, 3] and load(copy).history.current == 3
    assert contents(bundle) == before
    assert run(["predict", str(copy), str(normals / "tuesday")]) == 0


def test_out_never_replaces_another_detector_or_other_files(bundle, fitted, normals, tmp_path, capsys):
    other = shutil.copytree(fitted / "bundle", tmp_path / "other")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("mine")
    before = contents(tmp_path)
    for out, reason in ((other, "is a bundle of another detector"), (tmp_path / "notes", "no bundle found")):
        assert run(["calibrate", str(bundle), "--normal", str(normals / "monday"), "--out", str(out)]) == 2
        assert reason in capsys.readouterr().err
    assert contents(tmp_path) == before
