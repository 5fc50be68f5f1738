"""offnormal predict as a user types it: images, and videos with a bundle that was fitted on images."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from offnormal.bundle import load
from offnormal.cli.main import run
from offnormal.evaluation.scores_csv import COLUMNS
from offnormal.testing.scenes import draw_part
from tests.video_files import write_video

SPOTS = range(8, 19)  # frames of the video `a` with a spot, 10 a second


@pytest.fixture(scope="session")
def footage(tmp_path_factory):
    """Two videos of drawn parts: `a` with a spot on some frames, `b` without."""
    folder = tmp_path_factory.mktemp("footage")
    rng = np.random.default_rng(3)
    for name, spots in (("a", SPOTS), ("b", ())):
        images = [draw_part(rng, defect=index in spots)[0] for index in range(25)]
        write_video(folder / f"{name}.mp4", images, fps=10)
    return folder


@pytest.fixture(scope="session")
def threshold(fitted, footage, tmp_path_factory):
    """A threshold between the frames with and without a spot."""
    table = tmp_path_factory.mktemp("table") / "s.csv"
    assert run(["predict", str(fitted), str(footage / "a.mp4"), "--csv", str(table)]) == 0
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    scores = np.array([float(row["score"]) for row in rows])
    spots = np.zeros(25, bool)
    spots[SPOTS] = True
    assert scores[spots].min() > scores[~spots].max()
    return str((scores[spots].min() + scores[~spots].max()) / 2)


@pytest.fixture
def bundle(fitted, tmp_path):
    """A run of one's own, to be changed."""
    return shutil.copytree(fitted, tmp_path / "run")


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_images_have_a_line_each(fitted, parts, capsys):
    capsys.readouterr()
    names = [str(parts / "test" / "good" / "000.png"), str(parts / "test" / "spot" / "*.png")]
    assert run(["predict", str(fitted), *names]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 7
    assert all("ANOMALOUS" in line for line in printed[1:6])
    assert printed[6].startswith("6 images: ") and " anomalous, " in printed[6]
    assert "score" in printed[0] and "p-value" in printed[0]


def test_images_as_json_csv_and_overlays(fitted, parts, tmp_path, capsys):
    capsys.readouterr()
    arguments = ["predict", str(fitted), str(parts / "test"), "--json", "--overlays", str(tmp_path / "out")]
    assert run([*arguments, "--csv", str(tmp_path / "t.csv"), "--exit-code"]) == 3
    predictions = lines(capsys)
    assert len(predictions) == 10
    threshold = load(fitted).calibration.threshold
    for row in predictions:
        assert row["verdict"] == ("anomalous" if row["score"] > threshold else "normal")
        assert row["threshold"] == threshold and row["unit"] == "image" and row["alarms"] == []
        assert 0 < row["p_value"] <= 1
        (overlay,) = row["overlay_paths"]
        assert Image.open(overlay).size == (64, 64)
        values = np.asarray(Image.open(row["map_path"]))
        assert values.shape == (64, 64) and values.dtype == np.float32
        assert values.max() == pytest.approx(row["score"], rel=1e-3)
    table = list(csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8")))
    assert tuple(table[0]) == COLUMNS
    for row, prediction in zip(table, predictions, strict=True):
        assert (row["item"], row["verdict"]) == (prediction["item"], prediction["verdict"])
        assert np.float32(row["score"]) == np.float32(prediction["score"])
        assert row["frame"] == row["time_s"] == row["label"] == ""


def test_a_threshold_by_hand(fitted, parts, capsys):
    capsys.readouterr()
    arguments = ["predict", str(fitted), str(parts / "test"), "--json", "--exit-code", "--threshold"]
    assert run([*arguments, "1e9"]) == 0
    assert {row["verdict"] for row in lines(capsys)} == {"normal"}
    assert run([*arguments, "0"]) == 3
    assert {row["verdict"] for row in lines(capsys)} == {"anomalous"}


def test_without_a_calibration_there_are_scores_and_a_warning(bundle, parts, footage, tmp_path, capsys):
    (bundle / "bundle" / "calibration.json").unlink()
    assert run(["predict", str(bundle), str(parts / "test" / "spot"), "--json", "--exit-code"]) == 2
    assert "--exit-code needs verdicts" in capsys.readouterr().err
    assert run(["predict", str(bundle), str(parts / "test" / "spot"), "--json"]) == 0
    captured = capsys.readouterr()
    assert "is not calibrated" in captured.err
    assert {json.loads(line)["verdict"] for line in captured.out.splitlines()} == {None}
    assert run(["predict", str(bundle), str(footage / "a.mp4"), "--csv", str(tmp_path / "s.csv")]) == 0
    assert "no threshold" in capsys.readouterr().out
    row = next(csv.DictReader((tmp_path / "s.csv").open(encoding="utf-8")))
    assert row["score"] and row["p_value"] == row["verdict"] == ""


def test_images_that_cannot_be_read_are_skipped_and_listed(fitted, parts, tmp_path, capsys):
    shutil.copytree(parts / "test" / "good", tmp_path / "new")
    (tmp_path / "new" / "zz.png").write_bytes(b"")
    arguments = ["predict", str(fitted), str(tmp_path / "new")]
    assert run([*arguments, "--json"]) == 2
    assert "zz.png" in capsys.readouterr().err
    assert run([*arguments, "--json", "--on-error", "skip"]) == 0
    *good, counts = lines(capsys)
    assert len(good) == counts["read"] == 5
    (bad,) = counts["skipped"]
    assert bad["path"].endswith("zz.png") and "empty" in bad["reason"]
    assert counts["skipped_by_reason"] == {bad["kind"]: 1} == {"unreadable file": 1}
    assert run([*arguments, "--on-error", "skip", "--exit-code", "--threshold", "1e9"]) == 1


def test_overlays_never_overwrite_images_and_are_not_judged_later(fitted, parts, tmp_path, capsys):
    shutil.copytree(parts / "test" / "good", tmp_path / "new")
    before = (tmp_path / "new" / "000.png").read_bytes()
    assert run(["predict", str(fitted), str(tmp_path / "new" / "*.png"), "--overlays", str(tmp_path / "new")]) == 2
    assert "choose another output folder" in capsys.readouterr().err
    assert (tmp_path / "new" / "000.png").read_bytes() == before
    overlays = str(tmp_path / "new" / "out")
    for _ in range(2):
        assert run(["predict", str(fitted), str(tmp_path / "new"), "--overlays", overlays, "--json"]) == 0
        assert len(lines(capsys)) == 5


def test_videos_have_a_line_each_and_one_for_each_alarm(fitted, footage, threshold, capsys):
    capsys.readouterr()
    assert run(["predict", str(fitted), str(footage / "*.mp4"), "--threshold", threshold, "--exit-code"]) == 3
    first, alarm, second, summary = capsys.readouterr().out.splitlines()
    assert first.startswith(str(footage / "a.mp4")) and "25 frames" in first and "1 alarm, 1.1 s (44.0 %)" in first
    assert alarm.startswith("  0:00.8-0:01.9  peak ") and "p-value" in alarm
    assert second.startswith(str(footage / "b.mp4")) and "no alarm" in second
    assert summary == "2 videos: 1 anomalous, 1 normal"


def test_an_alarm_needs_the_duration_of_the_rules(fitted, footage, threshold, tmp_path, capsys):
    (tmp_path / "rules.yaml").write_text("min_duration: 1.5s\n")
    arguments = ["predict", str(fitted), str(footage / "a.mp4"), "--threshold", threshold, "--json", "--exit-code"]
    for rules in (["--min-duration", "1.5s"], ["--rules", str(tmp_path / "rules.yaml")]):
        capsys.readouterr()
        assert run([*arguments, *rules]) == 0
        (row,) = lines(capsys)
        assert row["verdict"] == "normal" and row["alarms"] == []


def test_videos_as_json_csv_annotated_and_with_their_peaks(fitted, footage, threshold, tmp_path, capsys):
    capsys.readouterr()
    out = ["--csv", str(tmp_path / "s.csv"), "--annotate", str(tmp_path / "x"), "--overlays", str(tmp_path / "o")]
    assert run(["predict", str(fitted), str(footage), "--threshold", threshold, "--json", *out]) == 0
    a, b = lines(capsys)
    assert (a["item"], a["frames"], a["unit"]) == (str(footage / "a.mp4"), 25, "frame")
    assert (a["verdict"], b["verdict"]) == ("anomalous", "normal")
    assert a["seconds_in_alarm"] == pytest.approx(1.1) and b["alarms"] == []
    (alarm,) = a["alarms"]
    assert (alarm["start_s"], alarm["end_s"], alarm["start_frame"], alarm["stop_frame"]) == (0.8, 1.9, 8, 19)
    assert alarm["peak_score"] == a["score"] and 0 < alarm["p_value"] <= 1
    assert Image.open(alarm["overlay_path"]).size == (64, 64)
    for values in (a, b):
        with av.open(values["annotated_path"]) as container:
            assert sum(1 for _ in container.decode(video=0)) == 25
    rows = list(csv.DictReader((tmp_path / "s.csv").open(encoding="utf-8")))
    assert tuple(rows[0]) == COLUMNS
    names = [str(footage / f"{name}.mp4") for name in "ab"]
    assert [(row["item"], row["frame"]) for row in rows] == [(name, str(i)) for name in names for i in range(25)]
    assert [i for i, row in enumerate(rows) if row["verdict"] == "anomalous"] == list(SPOTS)
    assert rows[12]["time_s"] == "1.200" and rows[12]["reason"] == ""


def test_a_second_run_skips_what_the_first_wrote(fitted, footage, tmp_path, capsys):
    cams = shutil.copytree(footage, tmp_path / "cams")
    capsys.readouterr()
    for _ in range(2):
        out = ["--annotate", str(cams / "x"), "--overlays", str(cams / "o"), "--threshold", "0"]
        assert run(["predict", str(fitted), str(cams), "--json", *out]) == 0
        assert [row["item"] for row in lines(capsys)] == [str(cams / "a.mp4"), str(cams / "b.mp4")]


def test_bad_videos_are_named_or_skipped(fitted, footage, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    arguments = ["predict", str(fitted), str(tmp_path / "bad.mp4"), str(footage / "b.mp4"), "--threshold", "1e9"]
    capsys.readouterr()
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert "bad.mp4" in error and "--on-error skip" in error
    assert run([*arguments, "--on-error", "skip", "--exit-code", "--json"]) == 1
    captured = capsys.readouterr()
    good, counts = [json.loads(line) for line in captured.out.splitlines()]
    (bad,) = counts["skipped"]
    assert good["item"].endswith("b.mp4") and bad["path"].endswith("bad.mp4") and "bad.mp4" in captured.err


def test_frame_folders_assume_a_rate_and_warn(fitted, footage, tmp_path, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(4):
        Image.fromarray(draw_part(np.random.default_rng(index))[0]).save(folder / f"{index}.png")
    capsys.readouterr()
    assert run(["predict", str(fitted), str(folder), "--as-video", "--json"]) == 0
    captured = capsys.readouterr()
    row = json.loads(captured.out)
    assert (row["frames"], row["assumed_fps"], row["seconds"]) == (4, 25, pytest.approx(4 / 25))
    assert "no clock" in captured.err and "25 frames per second" in captured.err and "--fps" in captured.err
    assert run(["predict", str(fitted), str(folder), "--as-video", "--every", "1s"]) == 2
    assert "set its frame rate" in capsys.readouterr().err
    assert run(["predict", str(fitted), str(folder), "--as-video", "--fps", "2", "--every", "1s", "--json"]) == 0
    captured = capsys.readouterr()
    row = json.loads(captured.out)
    assert (row["scored_frames"], row["seconds"], row["assumed_fps"]) == (2, 2.0, None) and "clock" not in captured.err
    assert run(["predict", str(fitted), str(folder), "--json"]) == 0
    assert len(lines(capsys)) == 4, "images without --as-video"
    assert run(["predict", str(fitted), str(folder), str(footage)]) == 2
    assert "--as-video" in capsys.readouterr().err


def plain_predict(plain, folder, *arguments):
    return run(["predict", str(plain), str(folder), *map(str, arguments)])


@pytest.fixture
def images(pictures, tmp_path):
    """Two images of a folder that may be changed."""
    (tmp_path / "in").mkdir()
    for name in ("000.png", "001.png"):
        shutil.copy(pictures / name, tmp_path / "in" / name)
    return tmp_path / "in"


def test_an_output_never_replaces_an_input(plain, images, tmp_path, capsys):
    config = tmp_path / "predict.yaml"
    config.write_text("device: cpu\n")
    model = plain / "bundle/model.safetensors"
    before = {path: path.read_bytes() for path in (images / "000.png", config, model)}
    (tmp_path / "link.csv").symlink_to(images / "000.png")
    for output in (images / "000.png", tmp_path / "link.csv", config, model):
        assert plain_predict(plain, images, "--csv", output, "--config", config) == 2
        assert f"--csv {output} would overwrite the input" in capsys.readouterr().err
    assert plain_predict(plain, images / "*.png", "--overlays", images) == 2
    assert "choose another" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in images.iterdir()) == ["000.png", "001.png"]


def test_the_csv_on_stdout_moves_the_text_to_stderr(plain, images, capsys):
    capsys.readouterr()
    assert plain_predict(plain, images, "--csv", "-") == 0
    captured = capsys.readouterr()
    rows = list(csv.DictReader(captured.out.splitlines()))
    assert [row["item"] for row in rows] == [str(images / "000.png"), str(images / "001.png")]
    assert len(captured.err.splitlines()) == 5 and "read 2 images" in captured.err
    assert plain_predict(plain, images, "--csv", "-", "--json") == 2
    assert "- and --json both write to stdout" in capsys.readouterr().err
    assert plain_predict(plain, images, "--overlays", "-") == 2
    assert "cannot go to stdout" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_device_is_one_error(plain, images, capsys):
    capsys.readouterr()
    assert plain_predict(plain, images, "--csv", "/dev/full") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("offnormal: /dev/full: the disk is full")
    assert Path("/dev/full").is_char_device()


def test_a_failed_run_leaves_no_folder_and_no_half_file(plain, images, tmp_path):
    (images / "002.png").write_bytes(b"damaged")
    assert plain_predict(plain, images, "--csv", tmp_path / "deep/er/t.csv") == 2
    assert plain_predict(plain, tmp_path / "missing", "--csv", tmp_path / "deep/t.csv") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_stdout_is_one_error_and_a_closed_one_is_none():
    program = [sys.executable, "-m", "offnormal", "list", "layouts"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr
        == "offnormal: stdout: cannot be written (No space left on device); free some space, or redirect it\n"
    )
    closed = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    closed.stdout.close()
    assert (closed.stderr.read(), closed.wait()) == ("", 0)
