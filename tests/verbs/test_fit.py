"""Fit on videos, and on clips of several classes."""

import json

import numpy as np
import pytest

from offnormal.config.layers import build
from offnormal.data.loaders import open_loader
from offnormal.errors import CalibrationError, ConfigError, DataError
from offnormal.scoring import Scorer
from offnormal.verbs.fit import fit_config, fit_run
from tests.footage import film
from tests.items import video
from tests.video_files import write_video


def test_a_fit_uses_thinned_frames_and_leaves_out_whole_videos(fitted_on_footage):
    data = fitted_on_footage.bundle.card["data"]
    assert (data["kind"], data["videos"], data["images"], data["layout"]) == ("video", 3, 60, "videos")
    calibration = fitted_on_footage.bundle.calibration
    assert (calibration.kind, calibration.groups, calibration.rate.per) == ("leave_group_out", 3, "frame")
    assert "leave-one-video-out on" in calibration.explanation
    assert calibration.block_s == pytest.approx(60 * 0.2 / calibration.effective)  # so that evaluate can check it


def test_one_video_is_split_into_stretches_that_are_left_out_as_a_whole(fit_videos, tmp_path):
    write_video(tmp_path / "life.mp4", film(0, frames=60), fps=10)
    run = fit_videos(tmp_path / "life.mp4", tmp_path / "runs")
    assert run.bundle.calibration.kind == "leave_group_out"
    assert run.bundle.calibration.groups == 10
    assert run.bundle.card["data"]["images"] == 60


def test_the_calibration_videos_of_a_dataset_set_the_threshold(footage, tmp_path):
    """Frames of training videos have lower scores, because the detector was trained on them."""
    rows = [f"{footage}/train/{name}.mp4,{split}" for name, split in ((0, "train"), (1, "train"), (2, "calibration"))]
    (tmp_path / "set.csv").write_text("\n".join(["address,split", *rows]))
    values = {"data": tmp_path / "set.csv", "out": tmp_path / "runs", "size": 32, "every": "0.2s", "device": "cpu"}
    bundle = fit_run("pixel_gaussian", build(fit_config("pixel_gaussian"), values, environment={}))[0].bundle
    calibration = bundle.calibration
    assert (calibration.kind, calibration.groups, len(calibration.scores)) == ("held_out", 10, 20)
    assert (bundle.card["data"]["images"], len(bundle.contents)) == (40, 3)
    loader = open_loader([video(footage / "train" / "2.mp4")], bundle.input, batch_size=8)
    scores = [batch.scores.score for batch in Scorer(bundle.detector, "cpu").score_batches(loader)]
    assert set(calibration.scores) <= set(np.concatenate(scores).astype(float))


def test_invalid_fits_are_refused_before_any_data_is_read(fit_videos, footage, tmp_path):
    with pytest.raises(ConfigError, match=r"offnormal calibrate"):
        fit_videos(footage, tmp_path, rate="2/hour")
    (tmp_path / "only" / "test").mkdir(parents=True)
    write_video(tmp_path / "only" / "test" / "a.mp4", film(1, frames=4))
    with pytest.raises(DataError, match="no normal training"):
        fit_videos(tmp_path / "only", tmp_path)


def test_a_rate_that_needs_more_clips_is_refused_before_training(fit_clips):
    with pytest.raises(CalibrationError, match=r"99 held-out normal clips, found 5.*--split"):
        fit_clips(rate="1%")


def test_a_resumed_fit_keeps_its_split(fit_clips, evaluate_clips):
    run = fit_clips(split_seed=4, max_time="1ms", epochs=50)
    before = (run.path / "split.json").read_bytes()
    again = build(
        fit_config("moves"),
        {"resume": run.path, "max_time": None},
        file=run.path / "config.yaml",
        environment={},
        detector="moves",
    )
    resumed = fit_run("moves", again)[0]
    assert (resumed.path / "split.json").read_bytes() == before
    assert evaluate_clips(resumed.path)[0].dataset.split.classes.seed == 4
    assert json.loads(before)["clips"]
