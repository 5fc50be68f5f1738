import csv
import json
import shutil
from collections import Counter

import numpy as np
import pytest
import yaml
from offnormal.verbs.evaluate_clips import choose_clips
from offnormal.verbs.predict_clips import ClipPredictor

from offnormal.api import evaluate
from offnormal.bundle import load
from offnormal.cli.main import run as program
from offnormal.config.layers import build
from offnormal.config.score import CalibrateConfig, CompareConfig, EvaluateConfig, PredictConfig
from offnormal.data.resolve import resolve_items
from offnormal.errors import CalibrationError, DataError, UsageError
from offnormal.types import Mask
from offnormal.verbs.calibrate import calibrate_bundle
from offnormal.verbs.compare import compare
from offnormal.verbs.evaluate import evaluate_all
from offnormal.verbs.fit import fit_config, fit_run
from tests.class_names import NORMAL, write_actions


def clips_in(*names, **more):
    return resolve_items(names, wants_clips=True, **more)


@pytest.fixture(scope="module")
def actions(tmp_path_factory):
    return write_actions(tmp_path_factory.mktemp("sets") / "clips")


@pytest.fixture
def fit(plugged, actions, tmp_path):
    def made(**options):
        given = {"data": actions, "out": tmp_path / "runs", "device": "cpu", "epochs": 4, **options}
        return fit_run("moves", build(fit_config("moves"), given, environment={}))[0]

    return made


def measured(path, actions, **options):
    config = build(EvaluateConfig, {"data": actions, "device": "cpu", **options}, environment={})
    return evaluate_all(path, config)[0]


def rows_of(path):
    with (path / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_whole_exercise(fit, actions):
    run = fit(split_seed=3)
    split = json.loads((run.path / "split.json").read_text())
    assert set(split["normal_classes"]) == set(NORMAL)
    learnt = {clip["clip"] for clip in split["clips"] if clip["split"] in ("train", "calibration")}
    calibration = run.bundle.calibration
    assert (calibration.rate.per, len(calibration.scores), calibration.kind) == ("clip", 5, "held_out")
    assert "clips" in calibration.explanation
    found, place = measured(run.path, actions)  # not told the seed: the run knows how it divided
    assert place.path == run.path
    rows = rows_of(run.path)
    assert {row["video"] for row in rows if row["part"] in ("train", "calibration")} == learnt
    assert not learnt & {row["video"] for row in rows if row["part"] in ("test", "anomalous")}
    assert {row["class"] for row in rows if row["label"] == "1"} == {"Lifting", "Walk-Front"}
    held_out = [float(row["score"]) for row in rows if row["part"] == "calibration"]
    np.testing.assert_allclose(sorted(held_out), calibration.scores, rtol=1e-4)
    normal, odd = ([float(row["score"]) for row in rows if row["part"] == part] for part in ("test", "anomalous"))
    pairs = [(a > n) + (a == n) / 2 for a in odd for n in normal]
    assert found.metrics["clip_AUROC"] == pytest.approx(np.mean(pairs))
    assert found.metrics["clip_caught"] == np.mean([score > calibration.threshold for score in odd])
    assert found.metrics["clip_kept_test"] == np.mean([score <= calibration.threshold for score in normal])
    assert found.metrics["clip_kept_calibration"] == 1.0  # the threshold is the highest of these
    assert found.embeddings.shape == (len(rows), 32)
    assert found.latents.shape == (len(rows), 6)
    values = json.loads((run.path / "metrics.json").read_text())
    assert [row["part"] for row in values["accuracy"]] == ["train", "calibration", "test", "anomalous"]
    page = (run.path / "report.html").read_text()
    for said in ("Scores by class", "t-SNE", "Best by hindsight", "rests on 5 normal clips", "Clips by class and part"):
        assert said in page


def test_a_bundle_without_its_split_is_not_tested_on_what_it_has_learnt(fit, actions, tmp_path):
    run = fit(split_seed=3)
    shutil.copytree(run.path / "bundle", tmp_path / "alone" / "bundle")
    with pytest.raises(DataError, match=r"split\.json"):
        measured(tmp_path / "alone" / "bundle", actions)
    assert measured(tmp_path / "alone" / "bundle", actions, split_seed=3)[0].clips
    with pytest.raises(DataError, match=r"split\.json"):
        evaluate(load(tmp_path / "alone" / "bundle"), actions, device="cpu")
    assert evaluate(run.bundle, actions, device="cpu").clips


def test_classes_of_ones_own(fit, actions):
    run = fit(anomalous_classes=["Run-Side"], split="40/40/20")
    found, _ = measured(run.path, actions)
    assert {row.video.class_name for row in found.clips if row.label == 1} == {"Run-Side"}
    assert yaml.safe_load((run.path / "config.yaml").read_text())["anomalous_classes"] == ["Run-Side"]
    with pytest.raises(DataError, match="leave --normal-classes"):
        measured(run.path, actions, anomalous_classes=["Kicking"])


def test_a_rate_that_so_few_clips_cannot_promise_is_refused_before_training(fit):
    with pytest.raises(CalibrationError, match=r"99 normal clips.*5 are.*--split"):
        fit(rate="1%")


def test_predict_gives_one_row_a_clip(fit, actions, tmp_path, capsys):
    run = fit()
    clips = clips_in(actions)
    found = list(ClipPredictor(run.bundle, PredictConfig(device="cpu")).over(clips))
    assert len(found) == len(clips) == 35
    assert {row.video.class_name for row in found} == {*NORMAL, "Lifting", "Walk-Front"}
    measured(run.path, actions)
    scores = {row["video"]: float(row["score"]) for row in rows_of(run.path)}
    for row in found:
        assert scores[row.video.name] == pytest.approx(row.verdict.score, rel=1e-4)
        assert row.verdict.anomalous == (row.verdict.score > run.bundle.calibration.threshold)
    table = tmp_path / "out.csv"
    assert program(["predict", str(run.path), str(actions / "Lifting"), "--csv", str(table), "--device", "cpu"]) == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["video", "class", "score", "p_value", "anomalous"]
    assert [row["class"] for row in rows] == ["Lifting"] * 5
    assert program(["predict", str(run.path), str(actions), "--json", "--threshold=-1", "--exit-code"]) == 3
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert all(line["pred_label"] for line in lines)


def test_the_run_tells_a_class_with_a_folder_for_each_clip_from_a_tree_of_classes(fit, actions, tmp_path, capsys):
    run = fit()
    for name in ("Run-Side", "Kicking-Front", "Juggling"):
        for number, clip in enumerate(sorted((actions / "Run-Side").glob("*/*.*"))[:2]):
            folder = tmp_path / "more" / name / f"{'ab'[number]}-morning"
            folder.mkdir(parents=True)
            shutil.copy(clip, folder)
    classes = {}
    for name in ("Run-Side", "Kicking-Front", "Juggling", "."):
        table = tmp_path / "out.csv"
        given = ["predict", str(run.path), str(tmp_path / "more" / name), "--csv", str(table), "--device", "cpu"]
        assert program(given) == 0
        with table.open(newline="") as file:
            classes[name] = sorted(row["class"] for row in csv.DictReader(file))
    assert classes["Run-Side"] == ["Run-Side"] * 2
    assert classes["Kicking-Front"] == ["Kicking"] * 2
    assert classes["Juggling"] == ["a-morning", "b-morning"], "the run does not know it: a tree of two classes"
    assert classes["."] == ["Juggling"] * 2 + ["Kicking"] * 2 + ["Run-Side"] * 2


def test_known_classes_go_before_numbers_and_links_keep_their_names(actions, tmp_path):
    (source,) = sorted(actions.glob("**/Run-Side/001/*.avi"))
    for place in ("digits/0", "digits/1", "elsewhere/mon", "elsewhere/tue"):
        (tmp_path / place).mkdir(parents=True)
        shutil.copy(source, tmp_path / place)
    (tmp_path / "Walk").symlink_to(tmp_path / "elsewhere")

    def classes(place, *known):
        return [clip.class_name for clip in clips_in(tmp_path / place, known_classes=known)]

    assert classes("digits") == ["digits"] * 2
    assert classes("digits", "0", "1") == ["0", "1"]
    assert classes("Walk", "Walk") == ["Walk"] * 2
    assert classes("Walk") == ["mon", "tue"]


def test_pictures_beside_a_clip_are_of_it(actions, tmp_path):
    (source,) = sorted(actions.glob("**/Run-Side/001/*.avi"))
    assert list(source.parent.glob("jpeg/*.jpg")), "frames lie below, as in the published set"
    assert [clip.path for clip in clips_in(source.parent)] == [source]
    shutil.copy(next(source.parent.glob("jpeg/*.jpg")), tmp_path)
    shutil.copy(source, tmp_path)
    with pytest.raises(UsageError, match="a video and"):
        clips_in(tmp_path)


def test_originals_are_known_where_classes_are_not(actions, tmp_path):
    """Copies of one original in a plain folder, and a tree whose actions lie one folder down."""
    (source,) = sorted(actions.glob("**/Run-Side/001/*.avi"))
    for name in ("a.avi", "a_aug1.avi", "a-flipped.avi", "b.avi"):
        (tmp_path / "plain").mkdir(exist_ok=True)
        shutil.copy(source, tmp_path / "plain" / name)
    clips = clips_in(tmp_path / "plain")
    assert [(clip.name, clip.class_name) for clip in clips] == [
        (name, None) for name in ("a-flipped", "a", "a_aug1", "b")
    ]
    assert sorted(Counter(clip.group for clip in clips).values()) == [1, 3]
    (tmp_path / "plain" / "monday").mkdir()
    for name in ("c.avi", "d.avi"):
        shutil.copy(source, tmp_path / "plain" / "monday" / name)
    below = [clip for clip in clips_in(tmp_path / "plain") if clip.path.parent.name == "monday"]
    assert [clip.group for clip in below] == [None, None], "they are not of one original because they lie together"
    shutil.copytree(next(actions.glob("**/Run-Side")).parent, tmp_path / "up" / "ucf action")
    for named in (tmp_path / "up", tmp_path / "up" / "ucf action"):
        clips = clips_in(named)
        assert {clip.class_name for clip in clips} == {*NORMAL, "Lifting", "Walk-Front"}
        assert len({clip.group for clip in clips}) == 35


def test_options_of_single_frames_are_refused(fit, actions, tmp_path, capsys):
    run = fit()
    assert program(["predict", str(run.path), str(actions), "--annotate", str(tmp_path / "a.mp4")]) == 2
    assert "whole clip" in capsys.readouterr().err
    with pytest.raises(UsageError, match="images; this detector scores clips"):
        clips_in(next(actions.rglob("*.jpg")))


def test_calibrate_counts_clips_and_refuses_known_ones(fit, actions, tmp_path):
    run = fit()
    others = write_actions(tmp_path / "others", clips=3, seed=7)
    config = build(CalibrateConfig, {"normals": others, "device": "cpu"}, environment={})
    calibration, _ = calibrate_bundle(run.bundle, config)
    assert (len(calibration.scores), calibration.rate.per) == (21, "clip")
    known = build(CalibrateConfig, {"normals": actions / "Run-Side", "device": "cpu"}, environment={})
    with pytest.raises(CalibrationError, match="fitted on"):
        calibrate_bundle(run.bundle, known)


def test_compare_shows_accuracies_side_by_side(fit, actions, tmp_path):
    runs = [fit(detector={"learning_rate": rate}) for rate in (1e-2, 1e-4)]
    found = [measured(run.path, actions)[0] for run in runs]
    comparison, made = compare(
        [run.path for run in runs], build(CompareConfig, {"out": tmp_path / "cmp"}, environment={})
    )
    assert comparison.kind == "clips"
    assert comparison.unit == "originals"
    for row, own in zip(comparison.rows, found, strict=True):
        assert row.metrics["clip_AUROC"] == pytest.approx(own.metrics["clip_AUROC"], abs=1e-6)
        shares = {part.part: part.right.count / part.right.of for part in row.accuracy}
        assert shares["test"] == own.metrics["clip_kept_test"]
        assert shares["anomalous"] == own.metrics["clip_caught"]
        assert shares["train"] == own.metrics["clip_kept_train"]
        assert shares["calibration"] == own.metrics["clip_kept_calibration"]  # whose highest is the threshold itself
        assert set(row.breakdown) == {"Lifting", "Walk-Front"}
    table = (made.path / "comparison.md").read_text()
    assert "| kept, train | kept, calibration | kept, test | caught |" in table
    assert "AUC of each anomalous class" in (made.path / "report.html").read_text()


def test_detectors_of_frames_see_the_class_in_every_frame(actions, tmp_path):
    given = {"data": actions, "out": tmp_path / "runs", "device": "cpu", "size": 32}
    config = build(fit_config("frame_difference"), given, environment={})
    run = fit_run("frame_difference", config)[0]
    found, _ = measured(run.path, actions)
    assert "frame_AUC_micro" in found.metrics
    labels = {video.video.class_name: set(video.scores.labels.tolist()) for video in found.videos}
    assert labels["Lifting"] == {True}
    assert labels["Run-Side"] == {False}


def test_originals_that_an_expression_named_stay_what_they_were(fit, actions, tmp_path):
    """A clip that comes later goes with its original, as the expression has it and the layout does not."""
    shutil.copytree(actions, tmp_path / "set")
    run = fit(data=tmp_path / "set", group_by=r"/\d*(\d)/[^/]*$")
    split = json.loads((run.path / "split.json").read_text())
    parts = {row["original"]: row["split"] for row in split["clips"] if row["class"] == "Run-Side"}
    assert sorted(parts) == ["1", "2", "3", "4", "5"]
    learnt = next(original for original, part in parts.items() if part == "train")
    (place,) = (tmp_path / "set").glob(f"**/Run-Side/00{learnt}")
    shutil.copytree(place, place.with_name(f"01{learnt}"))
    found, _ = measured(run.path, tmp_path / "set")
    later = [video for video in found.dataset.train if f"01{learnt}" in str(video.path)]
    assert [video.group for video in later] == [learnt]
    assert {row.video.group for row in found.clips if row.video.class_name == "Run-Side"} <= set(parts)


def test_what_is_masked_is_in_no_thumbnail(fit, actions):
    run = fit()
    found, _ = measured(run.path, actions)
    left_half = Mask((((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),), None)
    for mask, dark in ((None, False), (left_half, True)):
        pictures = choose_clips(found, None, mask)
        assert pictures
        halves = [image[:, : image.shape[1] // 2 - 1] for picture in pictures for image in picture.images]
        assert {not half.any() for half in halves} == {dark}


def test_a_resumed_fit_keeps_its_split(fit, actions, tmp_path):
    run = fit(split_seed=4, max_time="1ms", epochs=50)
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
    assert measured(resumed.path, actions)[0].dataset.split.classes.seed == 4
