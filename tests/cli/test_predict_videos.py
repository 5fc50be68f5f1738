"""offnormal predict on videos, as a user types it, with a bundle that was fitted on pictures."""

import csv
import json
import shutil

import av
import numpy as np
import pytest
from PIL import Image

from offnormal.cli.main import run
from offnormal.testing.scenes import draw_part
from tests.video_files import write_video


@pytest.fixture(scope="session")
def footage(tmp_path_factory):
    """Two videos of drawn parts, 10 frames a second: `a` with a spot on frames 8 to 12, `b` without."""
    folder = tmp_path_factory.mktemp("footage")
    rng = np.random.default_rng(3)
    for name, spots in (("a", range(8, 13)), ("b", ())):
        images = [draw_part(rng, defect=index in spots)[0] for index in range(25)]
        write_video(folder / f"{name}.mp4", images, fps=10)
    return folder


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(scope="session")
def threshold(fitted, footage, tmp_path_factory):
    """A threshold between the frames with and without a spot."""
    table = tmp_path_factory.mktemp("table") / "s.csv"
    assert run(["predict", str(fitted), str(footage / "a.mp4"), "--csv", str(table)]) == 0
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    scores = np.array([float(row["score"]) for row in rows])
    spots = np.zeros(25, bool)
    spots[8:13] = True
    assert scores[spots].min() > scores[~spots].max()
    return str((scores[spots].min() + scores[~spots].max()) / 2)


def test_a_line_for_each_video_and_each_alarm(fitted, footage, threshold, capsys):
    capsys.readouterr()
    assert run(["predict", str(fitted), str(footage / "*.mp4"), "--threshold", threshold, "--exit-code"]) == 3
    first, alarm, second = capsys.readouterr().out.splitlines()
    assert first.startswith(str(footage / "a.mp4")) and "25 frames" in first and "1 alarm, 0.5 s (20.0%)" in first
    assert alarm.startswith("  0:00.8-0:01.3  peak ") and "p-value" in alarm
    assert second.startswith(str(footage / "b.mp4")) and "no alarm" in second


def test_json_csv_annotated_videos_and_peaks(fitted, footage, threshold, tmp_path, capsys):
    capsys.readouterr()
    out = ["--csv", str(tmp_path / "s.csv"), "--annotate", str(tmp_path / "x"), "--overlays", str(tmp_path / "o")]
    assert run(["predict", str(fitted), str(footage), "--threshold", threshold, "--json", *out]) == 0
    a, b = lines(capsys)
    assert (a["video"], a["frames"], a["pred_label"], b["pred_label"]) == ("a", 25, True, False)
    assert a["seconds_in_alarm"] == pytest.approx(0.5) and b["alarms"] == []
    (alarm,) = a["alarms"]
    assert (alarm["start_s"], alarm["end_s"], alarm["start_frame"], alarm["stop_frame"]) == (0.8, 1.3, 8, 13)
    assert alarm["peak_score"] == a["pred_score"] and 0 < alarm["p_value"] <= 1
    assert Image.open(alarm["overlay_path"]).size == (64, 64)
    for values in (a, b):
        with av.open(values["annotated_path"]) as container:
            assert sum(1 for _ in container.decode(video=0)) == 25
    rows = list(csv.DictReader((tmp_path / "s.csv").open(encoding="utf-8")))
    assert list(rows[0]) == ["video", "frame", "time_s", "score", "p_value", "anomalous", "not_scored"]
    assert [(row["video"], row["frame"]) for row in rows] == [(name, str(i)) for name in "ab" for i in range(25)]
    assert [i for i, row in enumerate(rows) if row["anomalous"] == "1"] == list(range(8, 13))
    assert rows[12]["time_s"] == "1.200" and rows[12]["not_scored"] == ""


def test_the_same_again_passes_over_what_was_written(fitted, footage, tmp_path, capsys):
    shutil.copytree(footage, tmp_path / "cams")
    cams = tmp_path / "cams"
    for _ in range(2):
        out = ["--annotate", str(cams / "x"), "--overlays", str(cams / "o"), "--threshold", "0"]
        assert run(["predict", str(fitted), str(cams), "--json", *out]) == 0
        assert [one["video"] for one in lines(capsys)] == ["a", "b"]


def test_without_calibration_scores_come_without_verdicts(fitted, footage, tmp_path, capsys):
    bare = shutil.copytree(fitted, tmp_path / "run")
    (bare / "bundle" / "calibration.json").unlink()
    capsys.readouterr()
    assert run(["predict", str(bare), str(footage / "a.mp4"), "--csv", str(tmp_path / "s.csv")]) == 0
    said = capsys.readouterr()
    assert "no calibration" in said.err and "no threshold" in said.out
    row = next(csv.DictReader((tmp_path / "s.csv").open(encoding="utf-8")))
    assert row["score"] and row["p_value"] == row["anomalous"] == ""
    assert run(["predict", str(bare), str(footage / "a.mp4"), "--exit-code"]) == 2


def test_bad_videos_are_named_or_left_out(fitted, footage, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    arguments = ["predict", str(fitted), str(tmp_path / "bad.mp4"), str(footage / "b.mp4"), "--threshold", "1e9"]
    capsys.readouterr()
    assert run(arguments) == 2
    said = capsys.readouterr().err
    assert "bad.mp4" in said and "--on-error skip" in said
    assert run([*arguments, "--on-error", "skip", "--exit-code", "--json"]) == 1
    said = capsys.readouterr()
    good, bad = [json.loads(line) for line in said.out.splitlines()]
    assert good["video"].endswith("/b") and bad["video_path"].endswith("bad.mp4") and "left out" in said.err


def test_frame_folders_say_whose_clock_they_have(fitted, footage, tmp_path, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(4):
        Image.fromarray(draw_part(np.random.default_rng(index))[0]).save(folder / f"{index}.png")
    assert run(["predict", str(fitted), str(folder), "--as-video", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["frames"] == 4 and json.loads(said.out)["seconds"] is None
    assert "has no clock, which alarms need: give its frames per second with --fps" in said.err
    assert run(["predict", str(fitted), str(folder), "--as-video", "--every", "1s"]) == 2
    assert "rate of its frames" in capsys.readouterr().err
    assert run(["predict", str(fitted), str(folder), "--as-video", "--fps", "2", "--every", "1s", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["scored_frames"], found["seconds"]) == (2, 2.0)
    assert run(["predict", str(fitted), str(folder), "--json"]) == 0
    assert len(lines(capsys)) == 4, "pictures as ever"
    assert run(["predict", str(fitted), str(folder), str(footage)]) == 2
    assert "--as-video" in capsys.readouterr().err
