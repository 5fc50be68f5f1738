"""fit, evaluate and calibrate on videos."""

import csv
import json

import numpy as np
import pytest

from offnormal.cli.main import run
from offnormal.config.layers import build
from offnormal.data.open import open_datasets
from offnormal.errors import CalibrationError, ConfigError, DataError
from offnormal.verbs.fit import fit_config, fit_run
from tests.footage import ANOMALY, FRAMES, film, write_footage
from tests.video_files import write_video


@pytest.fixture(scope="session")
def footage(tmp_path_factory):
    return write_footage(tmp_path_factory.mktemp("sets") / "yard")


def fit(data, out, **more):
    given = {"data": data, "out": out, "size": 64, "batch_size": 8, **more}
    return fit_run("padim", build(fit_config("padim"), given, environment={}))[0]


@pytest.fixture(scope="session")
def fitted_on_footage(footage, tmp_path_factory):
    return fit(footage, tmp_path_factory.mktemp("runs"), every="0.2s")


def test_a_fit_learns_from_thinned_frames_and_leaves_whole_videos_out(fitted_on_footage):
    data = fitted_on_footage.bundle.card["data"]
    assert (data["kind"], data["videos"], data["images"], data["layout"]) == ("video", 3, 60, "videos")
    calibration = fitted_on_footage.bundle.calibration
    assert (calibration.kind, calibration.groups, calibration.rate.per) == ("leave_group_out", 3, "frame")
    assert "each scored with its whole video or stretch left out" in calibration.explanation


def test_an_evaluation_finds_the_anomaly_and_writes_every_frame(fitted_on_footage, footage, capsys):
    bundle = fitted_on_footage.path / "bundle"
    assert run(["evaluate", str(bundle), "--data", str(footage), "--smooth", "0.3s"]) == 0
    shown = capsys.readouterr().out
    assert "yard: 2 videos, 80 frames" in shown and "frame_AUC_micro" in shown
    found = json.loads((fitted_on_footage.path / "metrics.json").read_text())
    assert found["metrics"]["frame_AUC_micro"] > 0.99
    assert found["metrics"]["frame_AUC_macro"] > 0.99
    assert found["operation"]["spans_caught"] == 1
    assert found["data"]["kind"] == "video" and found["data"]["frames"] == 2 * FRAMES
    with (fitted_on_footage.path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["video"] for row in rows] == ["calm"] * FRAMES + ["odd"] * FRAMES
    inside = [float(row["score"]) for row in rows if row["label"] == "1"]
    outside = [float(row["score"]) for row in rows if row["label"] == "0"]
    assert len(inside) == ANOMALY[1] - ANOMALY[0] and np.median(inside) > 2 * np.median(outside)
    assert "odd" in (fitted_on_footage.path / "report.html").read_text()


def test_videos_without_labels_are_scored_and_say_what_is_missing(fitted_on_footage, tmp_path, capsys):
    data = write_footage(tmp_path / "bare", train=1, labels=False)
    out = tmp_path / "result"
    assert run(["evaluate", str(fitted_on_footage.path / "bundle"), "--data", str(data), "--out", str(out)]) == 0
    assert "frame_AUC_micro not computed" in capsys.readouterr().out
    assert json.loads((out / "metrics.json").read_text())["operation"]["alarms"] >= 1


def test_one_video_is_cut_into_stretches_so_that_neighbours_are_left_out_together(tmp_path):
    write_video(tmp_path / "life.mp4", film(0, frames=60), fps=10)
    made = fit(tmp_path / "life.mp4", tmp_path / "runs")
    assert made.bundle.calibration.kind == "leave_group_out"
    assert made.bundle.calibration.groups == 10
    assert made.bundle.card["data"]["images"] == 60


def test_calibrating_with_other_footage_by_share_and_by_alarms_in_a_time(fitted_on_footage, tmp_path, capsys):
    from shutil import copytree

    bundle = copytree(fitted_on_footage.path / "bundle", tmp_path / "bundle")
    write_video(tmp_path / "other.mp4", film(5, frames=300), fps=10)
    base = ["calibrate", str(bundle), "--normal", str(tmp_path / "other.mp4")]
    assert run([*base, "--rate", "5%"]) == 0
    assert "at most 5 % of normal frames" in capsys.readouterr().out
    assert run([*base, "--rate", "900/hour"]) == 0
    assert "900 per hour" in capsys.readouterr().out
    assert run([*base, "--rate", "2/day"]) == 2
    assert "it needs 12 h" in capsys.readouterr().err


def test_footage_that_was_learnt_from_calibrates_nothing(fitted_on_footage, footage):
    from offnormal.api import calibrate

    with pytest.raises(CalibrationError, match="3 of 3 videos are among those"):
        calibrate(fitted_on_footage.bundle, footage / "train")


def test_what_cannot_work_is_refused_before_anything_is_read(footage, tmp_path):
    with pytest.raises(ConfigError, match=r"a fit promises a share of frames.*offnormal calibrate"):
        fit(footage, tmp_path, rate="2/hour")
    (tmp_path / "only" / "test").mkdir(parents=True)
    write_video(tmp_path / "only" / "test" / "a.mp4", film(1, frames=4))
    with pytest.raises(DataError, match="no normal training videos"):
        fit(tmp_path / "only", tmp_path)


def test_labels_shorter_than_the_video_are_refused(fitted_on_footage, tmp_path):
    data = write_footage(tmp_path / "short", train=1)
    (data / "labels" / "odd.csv").write_text("0\n1\n")
    from offnormal.api import evaluate

    with pytest.raises(DataError, match="2 labels for 40 frames"):
        evaluate(fitted_on_footage.bundle, data, out=tmp_path / "out")


def test_a_bundle_of_pictures_scores_videos(fitted, footage, tmp_path):
    assert run(["evaluate", str(fitted / "bundle"), "--data", str(footage), "--out", str(tmp_path)]) == 0
    assert open_datasets(footage)[0].layout == "videos"
