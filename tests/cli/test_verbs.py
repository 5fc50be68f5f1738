"""The verbs as a user types them, over small real files."""

import csv
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.testing.scenes import write_parts
from tests.data.idx_files import write_digits


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def bundle(fitted, tmp_path):
    """A run of one's own, to be changed."""
    return shutil.copytree(fitted, tmp_path / "run")


def test_fit_prints_the_bundle_and_its_guarantee(parts, tmp_path, capsys):
    assert run(["fit", "padim", "--data", str(parts), "--size", "48x64", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "12 normal images at 48x64 px" in out
    assert "Apache-2.0" in out
    assert "at most 7.69 %" in out  # 1 / 13
    assert "offnormal evaluate" in out
    folder = next(tmp_path.iterdir())
    assert load(folder).calibration.kind == "leave_one_out"
    events = [json.loads(line)["event"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert events == ["start", "done"]


def test_fit_from_a_config_file_with_flags_winning(parts, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(
        f"data: {parts}\nsize: 64\nout: {tmp_path / 'runs'}\ndetector: {{name: padim, grid_stride: 8, eps: 0.5}}\n"
    )
    assert run(["fit", "padim", "--config", str(tmp_path / "c.yaml"), "--eps", "0.2", "--json"]) == 0
    (fit,) = lines(capsys)
    options = load(fit["bundle"]).detector.options
    assert (options.grid_stride, options.eps) == (8, 0.2)


def test_a_run_can_be_repeated_from_its_config(bundle, tmp_path, capsys):
    assert run(["fit", "padim", "--config", str(bundle / "config.yaml"), "--out", str(tmp_path / "r"), "--json"]) == 0
    (fit,) = lines(capsys)
    assert fit["hash"] == load(bundle).hash


def test_plain_folders_groups_and_ignored_regions(parts, tmp_path, capsys):
    good = tmp_path / "gute Teile"
    for lot in ("lot 1", "lot 2", "lot 3"):
        (good / lot).mkdir(parents=True)
    for i, path in enumerate(sorted((parts / "train" / "good").iterdir())):
        shutil.copy(path, good / f"lot {i % 3 + 1}" / path.name)
    region = np.zeros((64, 64), np.uint8)
    region[:20] = 255
    Image.fromarray(region).save(tmp_path / "ignore.png")
    arguments = [
        "--size",
        "64",
        "--out",
        str(tmp_path / "runs"),
        "--json",
        "--ignore-mask",
        str(tmp_path / "ignore.png"),
    ]
    assert run(["fit", "padim", "--normal", str(good), "--group-by", "folder", *arguments]) == 0
    (fit,) = lines(capsys)
    assert fit["calibration"]["kind"] == "leave_group_out"
    loaded = load(fit["bundle"])
    assert loaded.calibration.groups == 3
    assert bool(loaded.detector.ignored[:16].all())
    assert not bool(loaded.detector.ignored[24:].any())


def test_every_category_and_the_mean_row(tmp_path, capsys):
    for number, name in enumerate(("nut", "bolt")):
        write_parts(tmp_path / "set" / name, seed=number)
    data = str(tmp_path / "set")
    assert run(["fit", "padim", "--data", data, "--size", "64", "--out", str(tmp_path / "r")]) == 2
    assert "--category" in capsys.readouterr().err
    arguments = ["--data", data, "--category", "all"]
    assert run(["fit", "padim", *arguments, "--size", "64", "--out", str(tmp_path / "r")]) == 0
    (folder,) = (tmp_path / "r").iterdir()
    assert f"offnormal evaluate {folder} --data {data} --category all" in capsys.readouterr().out
    assert run(["evaluate", str(folder), *arguments, "--json"]) == 0
    *categories, mean = lines(capsys)
    assert [row["data"]["name"] for row in categories] == ["bolt", "nut"]
    expected = np.mean([row["metrics"]["image_AUROC"] for row in categories])
    assert mean["mean"]["image_AUROC"] == pytest.approx(expected)
    assert (folder / "report.html").is_file()
    assert json.loads((folder / "metrics.json").read_text())["mean"] == mean["mean"]


def test_a_corrupt_file_stops_with_its_name_or_is_left_out_and_listed(tmp_path, capsys):
    data = write_parts(tmp_path / "set")
    (data / "train" / "good" / "004.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    arguments = ["fit", "padim", "--data", str(data), "--size", "64", "--out", str(tmp_path / "r"), "--json"]
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert "004.png" in error
    assert "--on-error skip" in error
    assert run([*arguments, "--on-error", "skip"]) == 0
    captured = capsys.readouterr()
    (fit,) = [json.loads(line) for line in captured.out.splitlines()]
    assert "004.png" in captured.err
    assert [bad["path"].endswith("004.png") for bad in fit["skipped"]] == [True]
    assert fit["data"]["images"] == 11
    assert "004.png" in (tmp_path / "r" / fit["run"].split("/")[-1] / "log.jsonl").read_text()


def test_an_unsupported_rate_is_refused_before_fitting(parts, tmp_path, capsys):
    assert run(["fit", "padim", "--data", str(parts), "--rate", "1%", "--out", str(tmp_path / "r")]) == 2
    assert "99" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_calibrate_refuses_pictures_that_the_detector_was_fitted_on(bundle, parts, capsys):
    before = load(bundle).calibration
    assert run(["calibrate", str(bundle), "--normal", str(parts / "train" / "good")]) == 2
    assert "12 of 12 images" in capsys.readouterr().err
    assert load(bundle).calibration == before


def test_a_damaged_calibration_can_be_replaced(bundle, parts, capsys):
    (bundle / "bundle" / "calibration.json").write_text("{}")
    assert run(["predict", str(bundle), str(parts / "test")]) == 2
    assert run(["calibrate", str(bundle), "--normal", str(parts / "test" / "good")]) == 0
    assert load(bundle).calibration.kind == "held_out"


def test_calibrate_replaces_and_refuses(bundle, tmp_path, capsys):
    more = write_parts(tmp_path / "more", train=12, seed=21)
    arguments = ["calibrate", str(bundle), "--normal", str(more / "train" / "good")]
    assert run([*arguments, "--rate", "0.01"]) == 2
    assert "99" in capsys.readouterr().err
    before = load(bundle).calibration
    assert before.kind == "leave_one_out"
    assert run([*arguments, "--rate", "10%", "--json"]) == 0
    (output,) = lines(capsys)
    after = load(bundle).calibration
    assert (after.kind, after.rate.value, after.threshold) == ("held_out", 0.1, output["threshold"])


def test_evaluate_writes_beside_the_bundle_and_never_over_other_data(bundle, parts, tmp_path, capsys, monkeypatch):
    assert run(["evaluate", str(bundle / "bundle"), "--data", str(parts), "--json"]) == 0
    (output,) = lines(capsys)
    assert output["run"] == str(bundle)
    assert output["metrics"]["pixel_AUROC"] > 0.8
    stored = json.loads((bundle / "metrics.json").read_text())
    assert stored["metrics"] == output["metrics"]
    rows = list(csv.DictReader((bundle / "scores.csv").open(encoding="utf-8")))
    assert len(rows) == 10
    assert {(row["class"], row["label"]) for row in rows} == {("good", "normal"), ("spot", "anomalous")}
    other = write_parts(tmp_path / "other", seed=8)
    assert run(["evaluate", str(bundle / "bundle"), "--data", str(other), "--json"]) == 0
    (second,) = lines(capsys)
    assert second["run"] != str(bundle)
    assert json.loads((bundle / "metrics.json").read_text()) == stored


def test_evaluate_without_masks_labels_or_calibration(bundle, parts, tmp_path, capsys):
    shutil.copytree(parts / "test", tmp_path / "test")
    (bundle / "bundle" / "calibration.json").unlink()
    out = ["--out", str(tmp_path / "result")]
    assert run(["evaluate", str(bundle), "--test", str(tmp_path / "test"), *out]) == 0
    output = capsys.readouterr().out
    assert "image_AUROC" in output
    assert "there are no masks" in output
    assert "not calibrated" in output
    assert run(["evaluate", str(bundle), "--test", str(tmp_path / "test" / "spot"), *out]) == 0
    assert "no labels" in capsys.readouterr().out
    assert (tmp_path / "result" / "report.html").is_file()


def test_pictures_that_are_all_the_same_are_refused(tmp_path, capsys):
    (tmp_path / "frozen").mkdir()
    command = ["fit", "padim", "--normal", str(tmp_path / "frozen"), "--size", "64", "--out", str(tmp_path / "r")]
    for i in range(12):
        Image.new("RGB", (64, 64), (90, 80, 70)).save(tmp_path / "frozen" / f"{i}.png")
    assert run(command) == 2
    assert "all normal images are the same: 12 files have the same bytes" in capsys.readouterr().err
    for i, path in enumerate((tmp_path / "frozen").iterdir()):
        with path.open("ab") as file:
            file.write(bytes([i]))  # other bytes, the same image
    assert run(command) == 1
    assert "all normal images are the same" in capsys.readouterr().err


def test_lists(capsys):
    assert run(["list", "detectors"]) == 0
    assert "padim" in capsys.readouterr().out
    assert run(["list", "layouts", "--json"]) == 0
    rows = lines(capsys)
    assert {row["name"] for row in rows} >= {"mvtec", "folder", "ucsd", "avenue", "shanghaitech", "memae", "videos"}
    assert all(row["tree"] and row["source"] and row["license"] for row in rows)
    assert run(["list", "backbones", "--search", "resnet18"]) == 0
    assert "resnet18.tv_in1k" in capsys.readouterr().out


def test_doctor_finds_everything_here(capsys):
    assert run(["doctor", "--json"]) == 0
    (rows,) = lines(capsys)
    assert all(row["ok"] for row in rows)


def test_doctor_notices_damaged_weights(capsys, monkeypatch):
    monkeypatch.setattr("offnormal.backbones.weights.LITE0_SHA256", "0" * 64)
    assert run(["doctor"]) == 1
    assert "reinstall" in capsys.readouterr().out


def test_pictures_inside_idx_files_go_all_the_way(tmp_path, capsys):
    data = write_digits(tmp_path / "digits", subsets=("train", "t10k"), per_class=12, prefix="small_")
    chosen = ["--data", str(data), "--normal-class", "3"]
    assert run(["fit", "pixel_gaussian", *chosen, "--size", "16", "--out", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    assert "on digits_3: 12 normal images" in out
    command = shlex.split(out.split("next")[1])[1:]
    assert command[-4:] == chosen
    assert run([*command, "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert evaluation["metrics"]["image_AUROC"] == 1
    with (Path(evaluation["run"]) / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({row["item"] for row in rows}) == 120
    assert {row["class"] for row in rows if row["label"] == "anomalous"} == {f"class {k}" for k in range(10)} - {
        "class 3"
    }
    assert "small_t10k-images-idx3-ubyte.gz/" in (Path(evaluation["run"]) / "report.html").read_text(encoding="utf-8")
    file, drawn = data / "small_t10k-images-idx3-ubyte.gz", tmp_path / "drawn"
    assert run(["predict", evaluation["run"], str(file), f"{file}/7", "--overlays", str(drawn), "--json"]) == 0
    predictions = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["item"] for row in predictions] == [str(file / str(i)) for i in range(120)]
    assert (drawn / "119.png").is_file()
