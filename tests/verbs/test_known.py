"""Images that a bundle was trained or calibrated on are recognized in every verb; copies count once."""

import json
import shutil

import pytest

from offnormal import api
from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.errors import CalibrationError, DataError
from offnormal.testing.scenes import write_parts


@pytest.fixture(scope="module")
def fitted_parts(tmp_path_factory):
    """Parts with copies: one in training, and one training image in the test set; their run is fitted."""
    root = tmp_path_factory.mktemp("known")
    parts = write_parts(root / "parts", train=8, good=4, bad=3, size=32)
    shutil.copy(parts / "train/good/000.png", parts / "train/good/copy.png")
    shutil.copy(parts / "train/good/001.png", parts / "test/good/seen.png")
    (parts / "train/good/photo.jxl").write_bytes(b"x")
    fitted = api.fit("pixel_gaussian", parts, size=16, out=root / "runs")
    return parts, fitted


@pytest.fixture
def bundle(fitted_parts, tmp_path):
    """A copy of the fitted run, to be changed."""
    return shutil.copytree(fitted_parts[1].path, tmp_path / "run")


def test_a_copy_counts_once_in_the_fit_the_calibration_and_the_stated_number(fitted_parts):
    calibration, data = fitted_parts[1].bundle.calibration, fitted_parts[1].bundle.card["data"]
    assert len(calibration.scores) == data["images"] == len(data["contents"]) == fitted_parts[1].read == 8
    assert "on 8 training images" in calibration.explanation
    assert [(skip.path.name, skip.kind) for skip in fitted_parts[1].skipped] == [
        ("photo.jxl", ".jxl file"),
        ("copy.png", "copy"),
    ]


def test_evaluate_and_compare_warn_about_known_images_and_exclude_them(fitted_parts, bundle, tmp_path, capsys):
    parts = fitted_parts[0]
    command = ["evaluate", str(bundle), "--data", str(parts), "--out"]
    assert run([*command, str(tmp_path / "all")]) == 0
    assert "1 of 8 images was used for training or for the threshold" in capsys.readouterr().err
    values = json.loads((tmp_path / "all/metrics.json").read_text())
    assert values["known"] == {"excluded": False, "items": ["test/good/seen.png"]}
    assert "test/good/seen.png (--exclude-known excludes it)" in values["notes"][0]
    assert "used for training or for the threshold" in (tmp_path / "all/report.html").read_text()
    assert (values["read"], values["skipped_by_reason"]) == (8, {})
    assert run([*command, str(tmp_path / "some"), "--exclude-known"]) == 0
    assert "seen.png" in capsys.readouterr().err
    values = json.loads((tmp_path / "some/metrics.json").read_text())
    assert (values["read"], values["known"]["excluded"]) == (7, True)
    pair = [str(tmp_path / "all"), str(tmp_path / "some")]
    assert run(["compare", *pair, "--out", str(tmp_path / "c"), "--json"]) == 0
    printed = capsys.readouterr()
    assert "A: 1 of 8 images used for its training or threshold" in printed.err
    assert json.loads(printed.out)["common"] == 7
    assert "used for its training or threshold" in (tmp_path / "c/report.html").read_text()
    comparison = api.compare(*pair[:1], shutil.copytree(pair[0], tmp_path / "again"), out=tmp_path / "d")
    assert comparison.common == 8
    comparison = api.compare(pair[0], tmp_path / "again", out=tmp_path / "d", exclude_known=True)
    assert comparison.common == 7 and "excluded from every figure" in comparison.notes[0]


def test_images_that_the_threshold_was_set_on_are_known_as_well(fitted_parts, bundle, tmp_path, capsys):
    parts = fitted_parts[0]
    with pytest.raises(CalibrationError, match=r"1 of 5 images are training data.*--exclude-known"):
        api.calibrate(load(bundle), parts / "test/good")
    capsys.readouterr()
    assert run(["calibrate", str(bundle), "--normal", str(parts / "test/good"), "--exclude-known", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == 4
    loaded = load(bundle)
    assert len(loaded.calibration.contents) == 4 and len(loaded.contents) == 12
    evaluation = api.evaluate(loaded, parts, out=tmp_path / "e")
    assert sorted(evaluation.reuse.names) == [f"test/good/{name}.png" for name in ("000", "001", "002", "003", "seen")]


def test_predict_warns_excludes_and_counts(fitted_parts, bundle, capsys):
    parts = fitted_parts[0]
    (parts / "test/bad.dng").write_bytes(b"x")
    assert run(["predict", str(bundle), str(parts), "--json"]) == 0
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert sum("score" in line for line in lines) == 17
    assert lines[-1]["skipped_by_reason"] == {"mask": 3, ".dng file": 1, ".jxl file": 1}
    assert "10 of 17 images were used for training" in printed.err
    assert "read 17 images, skipped 5: 3 masks, 1 .dng file, 1 .jxl file" in printed.err
    assert run(["predict", str(bundle), str(parts), "--exclude-known"]) == 0
    assert "read 7 images" in capsys.readouterr().err
    with pytest.raises(DataError, match="--exclude-known: all 9 were used"):
        list(api.predict(load(bundle), parts / "train", exclude_known=True))
    assert run(["predict", str(bundle), str(parts / "test/spot/000.png")]) == 0
    assert capsys.readouterr().err.strip() == "offnormal: read 1 image, skipped nothing"


def test_known_videos_are_recognized(fitted_on_footage, footage, tmp_path):
    data = shutil.copytree(footage, tmp_path / "yard")
    shutil.copy(next((data / "train").iterdir()), data / "test" / "again.mp4")
    evaluation = api.evaluate(fitted_on_footage.bundle, data, out=tmp_path / "e", exclude_known=True)
    assert evaluation.reuse.names == ["again"] and "again" not in [item.name for item in evaluation.table.items]


def test_options_of_videos_are_refused_for_images(fitted_parts, bundle, capsys):
    parts = str(fitted_parts[0])
    for verb, flags, message in (
        (["evaluate", str(bundle), "--data", parts], ["--merge-gap", "2s"], "--merge-gap is for videos"),
        (["evaluate", str(bundle), "--data", parts], ["--smooth", "1s"], "--smooth is for videos"),
        (["predict", str(bundle), parts], ["--hysteresis", "0"], "--hysteresis is for videos"),
        (["calibrate", str(bundle), "--normal", f"{parts}/test/good"], ["--fps", "5"], "--fps is for videos"),
        (["calibrate", str(bundle), "--normal", f"{parts}/test/good"], ["--max-gap", "2s"], "--max-gap is for videos"),
    ):
        assert run([*verb, *flags]) == 2
        assert message in capsys.readouterr().err
