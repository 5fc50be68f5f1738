from __future__ import annotations

import json

import pytest

from offnormal.config.score import CompareConfig
from offnormal.errors import UsageError
from offnormal.evaluation.compare import comparison_json
from offnormal.types import Unit
from offnormal.verbs.compare import compare
from tests.evaluations import image_run, video_run


def test_three_files_appear_and_agree(tmp_path):
    folders = [video_run(tmp_path / "a"), video_run(tmp_path / "b", seed=1)]
    comparison, run = compare(folders, CompareConfig(out=tmp_path / "new" / "out", combine=True))
    assert sorted(path.name for path in run.path.iterdir()) == ["comparison.json", "comparison.md", "report.html"]
    written = json.loads((run.path / "comparison.json").read_text())
    assert written == json.loads(json.dumps(comparison_json(comparison)))
    first, second, combined = written["runs"]
    assert second["difference_to_first"]["frame_AUC_micro"]["noise"] in (True, False)
    assert first["difference_to_first"] == {} and combined["path"] is None
    assert first["alarms"]["spans_detected"] == comparison.rows[0].alarms.detected
    for name in ("comparison.md", "report.html"):
        assert f"{second['metrics']['frame_AUC_micro']:.4f}" in (run.path / name).read_text()


def test_a_run_that_is_compared_is_not_replaced(tmp_path):
    folders = [image_run(tmp_path / "a"), image_run(tmp_path / "b", seed=1)]
    (folders[1] / "report.html").write_text("of b")
    with pytest.raises(UsageError, match=r"--out .*report\.html would overwrite the input"):
        compare(folders, CompareConfig(out=folders[1]))
    assert (folders[1] / "report.html").read_text() == "of b"
    assert not (folders[1] / "comparison.json").exists()


def test_by_default_a_new_run_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, run = compare([image_run(tmp_path / "a"), image_run(tmp_path / "b", seed=1)], CompareConfig())
    assert run.path.parent.name == "runs" and run.path.name.endswith("-compare")
    confusion = json.loads((run.path / "comparison.json").read_text())["runs"][0]["confusion"]
    assert sum(confusion.values()) == 61


def test_alarms_are_those_of_the_rules(tmp_path):
    folders = [video_run(tmp_path / "a"), video_run(tmp_path / "b", seed=1)]

    def alarms(**rules):
        comparison, _ = compare(folders, CompareConfig(out=tmp_path / "out", rules=rules))
        return comparison.rows[0].alarms

    short = {"min_duration": 0, "hysteresis": 0}
    assert len(alarms(merge_gap=0, **short).alarms) > len(alarms(merge_gap=5, **short).alarms)
    assert alarms(hysteresis=0.5).low_threshold < alarms(hysteresis=0).low_threshold == alarms().threshold
    with pytest.raises(ValueError, match="expected a duration such as 5s"):
        CompareConfig(rules={"merge_gap": -1})


def test_clips_are_compared_by_split_and_class(fit_clips, evaluate_clips, tmp_path):
    runs = [fit_clips(detector={"learning_rate": rate}) for rate in (1e-2, 1e-4)]
    evaluations = [evaluate_clips(run.path)[0] for run in runs]
    comparison, folder = compare([run.path for run in runs], CompareConfig(out=tmp_path / "cmp"))
    assert comparison.unit is Unit.CLIP and comparison.drawn.noun == "originals"
    for row, evaluation in zip(comparison.rows, evaluations, strict=True):
        metrics = evaluation.metrics
        assert row.metrics["clip_AUROC"] == pytest.approx(metrics["clip_AUROC"], abs=1e-6)
        shares = {split.split: split.correct.count / split.correct.total for split in row.splits}
        assert shares["test"] == metrics["clip_passed_test"]
        assert shares["anomalous"] == metrics["clip_detected"]
        assert shares["train"] == metrics["clip_passed_train"]
        assert shares["calibration"] == metrics["clip_passed_calibration"]  # whose highest is the threshold itself
        assert set(row.breakdown) == {"Lifting", "Walk-Front"}
    assert "Lifting" in (folder.path / "report.html").read_text()
    assert "train" in (folder.path / "comparison.md").read_text()
