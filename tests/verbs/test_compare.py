from __future__ import annotations

import json

import pytest
from offnormal.comparison import compare_runs

from offnormal.config.score import CompareConfig
from offnormal.verbs.compare import compare, comparison_json
from tests.evaluations import image_run, video_run


def test_three_files_appear_and_say_the_same(tmp_path):
    folders = [video_run(tmp_path / "a"), video_run(tmp_path / "b", seed=1)]
    found, run = compare(folders, CompareConfig(out=tmp_path / "new" / "out", combine=True))
    assert sorted(path.name for path in run.path.iterdir()) == ["comparison.json", "comparison.md", "report.html"]
    written = json.loads((run.path / "comparison.json").read_text())
    assert written == json.loads(json.dumps(comparison_json(found)))
    first, second, combined = written["runs"]
    assert second["difference_to_first"]["frame_AUC_micro"]["noise"] in (True, False)
    assert first["difference_to_first"] == {} and combined["path"] is None
    assert first["operation"]["spans_caught"] == found.rows[0].operation.caught
    for name in ("comparison.md", "report.html"):
        assert f"{second['metrics']['frame_AUC_micro']:.4f}" in (run.path / name).read_text()


def test_by_default_a_new_run_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, run = compare([image_run(tmp_path / "a"), image_run(tmp_path / "b", seed=1)], CompareConfig())
    assert run.path.parent.name == "runs" and run.path.name.endswith("-compare")
    confusion = json.loads((run.path / "comparison.json").read_text())["runs"][0]["confusion"]
    assert sum(confusion.values()) == 61


def test_alarms_near_each_other_are_one_as_asked(tmp_path):
    folders = [video_run(tmp_path / "a"), video_run(tmp_path / "b", seed=1)]
    alarms = [len(compare_runs(folders, merge_gap_s=gap).rows[0].operation.alarms) for gap in (0.0, 5.0)]
    assert alarms[0] > alarms[1]
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        CompareConfig(rules={"merge_gap": -1})
