"""calibrate with footage and with clips that the detector has not learned from."""

from shutil import copytree

import pytest
from PIL import Image

from offnormal import api
from offnormal.cli.main import run
from offnormal.config.layers import build
from offnormal.config.score import CalibrateConfig
from offnormal.errors import CalibrationError, UsageError
from offnormal.verbs.calibrate import calibrate_bundle
from tests.actions import write_actions
from tests.footage import film
from tests.verbs.test_predict import bundle
from tests.video_files import write_video


def test_other_footage_calibrates_by_share_and_by_alarms_in_a_time(fitted_on_footage, tmp_path, capsys):
    copy = copytree(fitted_on_footage.path / "bundle", tmp_path / "bundle")
    write_video(tmp_path / "other.mp4", film(5, frames=300), fps=10)
    base = ["calibrate", str(copy), "--normal", str(tmp_path / "other.mp4"), "--incident-gap", "0"]
    assert run([*base, "--rate", "5%"]) == 0
    assert "5 %" in capsys.readouterr().out
    assert run([*base, "--rate", "900/hour"]) == 0
    assert "900 per hour" in capsys.readouterr().out
    assert run([*base, "--rate", "2/day"]) == 2
    assert "it needs 12 h" in capsys.readouterr().err


def test_a_folder_of_frames_is_footage_and_needs_a_clock_for_a_rate_in_time(fitted_on_footage, tmp_path, capsys):
    copy = copytree(fitted_on_footage.path / "bundle", tmp_path / "bundle")
    for name, seed in (("gate", 5), ("yard", 6)):
        (tmp_path / "frames" / name).mkdir(parents=True)
        for index, pixels in enumerate(film(seed, frames=150)):
            Image.fromarray(pixels).save(tmp_path / "frames" / name / f"{index:03}.png")
    base = ["calibrate", str(copy), "--normal", str(tmp_path / "frames"), "--incident-gap", "0", "--rate"]
    assert run([*base, "900/hour"]) == 2
    assert "no frame times, but event rates need them; set the frame rate with --fps" in capsys.readouterr().err
    assert run([*base, "900/hour", "--fps", "10"]) == 0
    assert run([*base, "5%"]) == 0
    calibration = api.load(copy).calibration
    assert (calibration.rate.per, len(calibration.scores), calibration.groups) == ("frame", 300, 2)
    assert run([*base[:3], str(tmp_path / "frames" / "gate"), "--rate", "5%"]) == 0
    assert len(api.load(copy).calibration.scores) == 150


def test_the_threshold_of_a_rate_in_time_depends_on_the_rules(fitted_on_footage, tmp_path):
    write_video(tmp_path / "other.mp4", film(5, frames=300), fps=10)

    def threshold(**rules):
        copy = api.load(copytree(fitted_on_footage.path / "bundle", tmp_path / str(len(rules)) / "bundle"))
        return api.calibrate(
            copy, tmp_path / "other.mp4", rate="900/hour", rules={**rules, "incident_gap": 0}
        ).threshold

    assert threshold(min_duration=0) > threshold(), "what need not last is above more often"


def test_footage_that_was_learned_from_calibrates_nothing(fitted_on_footage, footage):
    with pytest.raises(CalibrationError, match="3 of 3 videos are training data"):
        api.calibrate(fitted_on_footage.bundle, footage / "train")


def test_clips_are_counted_and_known_ones_refused(fit_clips, actions, tmp_path):
    run = fit_clips()
    others = write_actions(tmp_path / "others", clips=3, seed=7)
    config = build(CalibrateConfig, {"normal": others, "device": "cpu"}, environment={})
    result = calibrate_bundle(run.bundle, config)
    assert (len(result.calibration.scores), result.calibration.rate.per, result.skipped) == (21, "clip", [])
    learned = build(CalibrateConfig, {"normal": actions / "Run-Side", "device": "cpu"}, environment={})
    with pytest.raises(CalibrationError, match="3 of 5 clips are training data"):
        calibrate_bundle(run.bundle, learned)


def test_normals_must_be_named():
    with pytest.raises(UsageError, match="--normal DIR"):
        calibrate_bundle(bundle(), CalibrateConfig())
