"""evaluate: metrics, score table, and report of videos and of clips of several classes."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml

from offnormal import api
from offnormal.cli.main import run
from offnormal.config.layers import build
from offnormal.data.open import open_datasets
from offnormal.errors import DataError, UsageError
from offnormal.evaluation.scores_csv import read_table
from offnormal.types import InputSpec, Unit
from offnormal.verbs.evaluate import why_no_pixels
from offnormal.verbs.fit import fit_config, fit_run
from tests.actions import NORMAL
from tests.footage import ANOMALY, FRAMES, write_footage
from tests.items import image, video


def rows_of(path):
    with (path / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def classes_of(evaluation, label):
    """Classes of the items with a label."""
    rows = evaluation.table.items
    return {row.class_name for row in rows if evaluation.table.label[row.rows.start] == label}


def test_an_evaluation_of_videos_detects_the_anomaly_and_writes_every_frame(fitted_on_footage, footage, capsys):
    bundle = fitted_on_footage.path / "bundle"
    assert run(["evaluate", str(bundle), "--data", str(footage), "--smooth", "0.3s"]) == 0
    printed = capsys.readouterr().out
    assert "yard: 2 videos, 80 frames" in printed and "frame_AUC_micro" in printed
    values = json.loads((fitted_on_footage.path / "metrics.json").read_text())
    assert values["metrics"]["frame_AUC_micro"] > 0.99
    assert values["metrics"]["frame_AUC_macro"] > 0.99
    assert values["alarms"]["spans_detected"] == 1
    assert values["unit"] == "frame" and values["data"]["rows"] == 2 * FRAMES and values["data"]["items"] == 2
    rows = rows_of(fitted_on_footage.path)
    assert [row["item"] for row in rows] == ["calm"] * FRAMES + ["odd"] * FRAMES
    assert [row["frame"] for row in rows] == [str(frame) for frame in range(FRAMES)] * 2
    inside = [float(row["score"]) for row in rows if row["label"] == "anomalous"]
    outside = [float(row["score"]) for row in rows if row["label"] == "normal"]
    assert len(inside) == ANOMALY[1] - ANOMALY[0] and np.median(inside) > 2 * np.median(outside)
    assert "odd" in (fitted_on_footage.path / "report.html").read_text()


def test_predict_and_evaluate_write_the_same_table(fitted_on_footage, footage, tmp_path):
    bundle = str(fitted_on_footage.path / "bundle")
    assert run(["evaluate", bundle, "--data", str(footage), "--out", str(tmp_path)]) == 0
    assert run(["predict", bundle, str(footage / "test"), "--csv", str(tmp_path / "predicted.csv")]) == 0
    evaluated, predicted = (read_table(tmp_path / name, Unit.FRAME) for name in ("scores.csv", "predicted.csv"))
    for column in ("frame", "time_s", "score", "p_value", "verdict"):
        np.testing.assert_allclose(getattr(predicted, column), getattr(evaluated, column), rtol=1e-5)
    assert np.isnan(predicted.label).all() and set(evaluated.label) == {0, 1}


def test_videos_without_labels_are_scored_and_what_is_missing_is_named(fitted_on_footage, tmp_path, capsys):
    data = write_footage(tmp_path / "bare", train=1, labels=False)
    out = tmp_path / "result"
    assert run(["evaluate", str(fitted_on_footage.path / "bundle"), "--data", str(data), "--out", str(out)]) == 0
    assert "not computed" in capsys.readouterr().out
    assert json.loads((out / "metrics.json").read_text())["alarms"]["alarms"] >= 1


def test_labels_shorter_than_the_video_are_refused(fitted_on_footage, fit_videos, tmp_path):
    data = write_footage(tmp_path / "short", train=1)
    (data / "labels" / "odd.csv").write_text("0\n1\n")
    with pytest.raises(DataError, match=r"odd\.csv: 2 labels for 40 frames in .*odd\.mp4"):
        api.evaluate(fitted_on_footage.bundle, data, out=tmp_path / "out")
    with pytest.raises(DataError, match=r"odd\.csv: 2 labels for 40 frames in .*odd\.mp4"):
        fit_videos(data, tmp_path / "runs")


def test_a_bundle_of_images_scores_videos(fitted, footage, tmp_path):
    assert run(["evaluate", str(fitted / "bundle"), "--data", str(footage), "--out", str(tmp_path)]) == 0
    assert open_datasets(footage)[0].layout == "videos"


def test_clips_of_several_classes_from_their_split_to_their_report(fit_clips, evaluate_clips):
    run = fit_clips(split_seed=3)
    split = json.loads((run.path / "split.json").read_text())
    assert set(split["normal_classes"]) == set(NORMAL)
    learned = {clip["clip"] for clip in split["clips"] if clip["split"] in ("train", "calibration")}
    calibration = run.bundle.calibration
    assert (calibration.rate.per, len(calibration.scores), calibration.kind) == ("clip", 5, "held_out")
    evaluation, folder = evaluate_clips(run.path)  # not told the seed: the run knows how it divided
    assert folder.path == run.path
    rows = rows_of(run.path)
    assert {row["item"] for row in rows if row["split"] in ("train", "calibration")} == learned
    assert not learned & {row["item"] for row in rows if row["split"] in ("test", "anomalous")}
    assert {row["class"] for row in rows if row["label"] == "anomalous"} == {"Lifting", "Walk-Front"}
    held_out = [float(row["score"]) for row in rows if row["split"] == "calibration"]
    np.testing.assert_allclose(sorted(held_out), calibration.scores, rtol=1e-4)
    normal, odd = ([float(row["score"]) for row in rows if row["split"] == name] for name in ("test", "anomalous"))
    pairs = [(a > n) + (a == n) / 2 for a in odd for n in normal]
    metrics = evaluation.metrics
    assert metrics["clip_AUROC"] == pytest.approx(np.mean(pairs))
    assert metrics["clip_detected"] == np.mean([score > calibration.threshold for score in odd])
    assert metrics["clip_passed_test"] == np.mean([score <= calibration.threshold for score in normal])
    assert metrics["clip_passed_calibration"] == 1.0  # the threshold is the highest of these
    assert evaluation.embeddings.shape == (len(rows), 32)
    assert evaluation.latents.shape == (len(rows), 6)
    values = json.loads((run.path / "metrics.json").read_text())
    assert [row["split"] for row in values["splits"]] == ["train", "calibration", "test", "anomalous"]
    page = (run.path / "report.html").read_text()
    assert "t-SNE" in page and "Lifting" in page


def test_a_bundle_without_its_split_is_not_tested_on_what_it_has_learned(fit_clips, evaluate_clips, actions, tmp_path):
    run = fit_clips(split_seed=3)
    alone = tmp_path / "alone" / "bundle"
    shutil.copytree(run.path / "bundle", alone)
    with pytest.raises(DataError, match=r"split\.json"):
        evaluate_clips(alone)
    assert len(evaluate_clips(alone, split_seed=3)[0].table)
    with pytest.raises(DataError, match=r"split\.json"):
        api.evaluate(api.load(alone), actions, device="cpu")
    assert len(api.evaluate(run.bundle, actions, device="cpu").table)


def test_classes_of_ones_own(fit_clips, evaluate_clips):
    run = fit_clips(anomalous_class=["Run-Side"], split="40/40/20")
    evaluation, _ = evaluate_clips(run.path)
    assert classes_of(evaluation, 1) == {"Run-Side"}
    assert yaml.safe_load((run.path / "config.yaml").read_text())["anomalous_class"] == ["Run-Side"]
    with pytest.raises(DataError, match="omit --normal-class"):
        evaluate_clips(run.path, anomalous_class=["Kicking"])


def test_detectors_of_frames_see_the_class_in_every_frame(actions, evaluate_clips, tmp_path):
    values = {"data": actions, "out": tmp_path / "runs", "device": "cpu", "size": 32}
    run = fit_run("frame_difference", build(fit_config("frame_difference"), values, environment={}))[0]
    evaluation, _ = evaluate_clips(run.path)
    assert "frame_AUC_micro" in evaluation.metrics
    table = evaluation.table
    labels = {item.class_name: set(table.label[item.rows].tolist()) for item in table.items}
    assert labels["Lifting"] == {1}
    assert labels["Run-Side"] == {0}


def test_originals_that_an_expression_named_stay_what_they_were(fit_clips, evaluate_clips, actions, tmp_path):
    """A clip that comes later goes with its original, as the expression has it and the layout does not."""
    shutil.copytree(actions, tmp_path / "set")
    run = fit_clips(data=tmp_path / "set", group_by=r"/\d*(\d)/[^/]*$")
    split = json.loads((run.path / "split.json").read_text())
    splits = {row["original"]: row["split"] for row in split["clips"] if row["class"] == "Run-Side"}
    assert sorted(splits) == ["1", "2", "3", "4", "5"]
    learned = next(original for original, name in splits.items() if name == "train")
    (clip,) = (tmp_path / "set").glob(f"**/Run-Side/00{learned}")
    shutil.copytree(clip, clip.with_name(f"01{learned}"))
    evaluation, _ = evaluate_clips(run.path, tmp_path / "set")
    later = [item for item in evaluation.dataset.train if f"01{learned}" in item.address]
    assert [item.group for item in later] == [learned]
    assert {row.group for row in evaluation.table.items if row.class_name == "Run-Side"} <= set(splits)


def test_why_pixel_metrics_are_impossible():
    masked, bare = image("a.png", mask="m.png", label=1), image("b.png", label=1)
    assert why_no_pixels([masked, image("c.png", label=0)], InputSpec(size=(8, 8))) is None
    assert why_no_pixels([bare], InputSpec(size=(8, 8))) == "there are no masks"
    assert "1 of 2 items may be anomalous" in why_no_pixels([masked, bare], InputSpec(size=(8, 8)))
    assert "b.png" in why_no_pixels([masked, bare], InputSpec(size=(8, 8)))
    assert "as a whole" in why_no_pixels([video("a.mp4", label=1)], InputSpec(size=(8, 8), frames=2, targets=()))


def test_labels_are_not_overwritten_but_an_earlier_evaluation_is(fitted_on_footage, tmp_path):
    data = write_footage(tmp_path / "data", train=1)
    (data / "labels" / "scores.csv").write_text("0\n")
    with pytest.raises(UsageError, match=r"--out .*would overwrite the input .*scores\.csv"):
        api.evaluate(fitted_on_footage.bundle, data, out=data / "labels")
    assert (data / "labels" / "scores.csv").read_text() == "0\n"
    (data / "labels" / "scores.csv").unlink()
    for _ in range(2):
        api.evaluate(fitted_on_footage.bundle, data, out=data / "results")
    assert (data / "results" / "metrics.json").is_file()
