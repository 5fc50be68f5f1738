"""offnormal calibrate: old and new side by side, warnings, and the ways back."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.data.reuse import drop_copies
from offnormal.errors import score_text
from offnormal.verbs import calibrate


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
    assert "nothing to undo: none applied before 1; --use 2 or --use 3" in capsys.readouterr().err
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


def test_data_is_the_same_in_a_renamed_folder_and_other_data_in_the_same_folder(bundle, normals, tmp_path, capsys):
    def worse(folder):
        assert run(["calibrate", str(bundle), "--normal", str(folder), "--json"]) == 0
        return json.loads(capsys.readouterr().out)["worse"]

    worse(shutil.copytree(normals / "tuesday", tmp_path / "a"))
    assert worse(shutil.copytree(normals / "tuesday", tmp_path / "b")) == []
    shutil.rmtree(tmp_path / "b")
    for number, file in enumerate(sorted((normals / "monday").iterdir())[:12]):
        (tmp_path / "b").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "b" / f"{number:02}.png")
    assert [reason.partition(",")[0] for reason in worse(tmp_path / "b")] == [f"other data: {tmp_path / 'b'}"]


def test_json_counts_what_was_read_and_skipped(bundle, normals, tmp_path, capsys):
    folder = shutil.copytree(normals / "tuesday", tmp_path / "new")
    (folder / "a.psd").write_bytes(b"x")
    assert run(["calibrate", str(bundle), "--normal", str(folder), "--dry-run", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["read"], values["skipped_by_reason"]) == (12, {".psd file": 1})
    assert [bad["path"] for bad in values["skipped"]] == [str(folder / "a.psd")]


def test_undo_after_use_returns_to_the_one_that_applied(bundle, normals, capsys):
    for name in ("monday", "tuesday"):
        assert run(["calibrate", str(bundle), "--normal", str(normals / name)]) == 0
    assert run(["calibrate", str(bundle), "--use", "1"]) == 0
    assert run(["calibrate", str(bundle), "--undo"]) == 0
    assert load(bundle).history.current == 3
    assert run(["calibrate", "--help"]) == 0
    assert "Undo the last --normal or --use" in capsys.readouterr().out


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


def test_a_copy_that_another_program_writes_meanwhile_is_not_replaced(bundle, normals, tmp_path, monkeypatch):
    copy = tmp_path / "copy"

    def meanwhile(dataset):
        other = load(bundle).copy()
        other.replace_calibration(replace(other.calibration, created="then"), source="other")
        other.save(copy)
        return drop_copies(dataset)

    monkeypatch.setattr(calibrate, "drop_copies", meanwhile)
    assert run(["calibrate", str(bundle), "--normal", str(normals / "monday"), "--out", str(copy)]) == 0
    assert [entry.source for entry in load(copy).history.entries] == ["fit", "other", str(normals / "monday")]


def test_out_never_replaces_another_detector_or_other_files(bundle, fitted, normals, tmp_path, capsys):
    other = shutil.copytree(fitted / "bundle", tmp_path / "other")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("mine")
    before = contents(tmp_path)
    for out, reason in ((other, "is a bundle of another detector"), (tmp_path / "notes", "no bundle found")):
        assert run(["calibrate", str(bundle), "--normal", str(normals / "monday"), "--out", str(out)]) == 2
        assert reason in capsys.readouterr().err
    assert contents(tmp_path) == before
