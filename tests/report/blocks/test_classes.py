from __future__ import annotations

from offnormal.report.blocks.classes import class_counts, classes
from offnormal.report.wording import NONE
from tests.evaluations import clip_evaluation, image_evaluation, images, video_evaluation


def test_types_of_anomaly_with_detections_and_auroc():
    evaluation = image_evaluation()
    table = classes(evaluation).elements[0]
    rows = {row[0]: row for row in table.rows}
    assert list(rows) == ["good", "crack", "hole"]
    for found in evaluation.classes[1:]:
        row = rows[found.name]
        assert row[1] == str(sum(found.counts.values())) and row[2].text == f"detected {found.correct.count}"
        assert row[4] == f"{found.auroc:.4f}" and 'class="box"' in row[5].svg
    assert rows["good"][2].text == "passed 40" and rows["good"][4] == NONE


def test_classes_of_clips_count_those_tested_on():
    table = classes(clip_evaluation()).elements[0]
    assert [row[:2] for row in table.rows] == [["run <1>", "2"], ["lift", "3"]]
    uncalibrated = classes(clip_evaluation(is_calibrated=False)).elements[0]
    assert "passed or detected" not in [column.title for column in uncalibrated.columns]
    assert len(uncalibrated.columns) == len(uncalibrated.rows[0])


def test_nothing_to_tell_apart():
    assert classes(video_evaluation()) is None
    assert classes(image_evaluation(items=images(anomalies={}))) is None
    assert classes(clip_evaluation(classes=False)) is None


def test_clips_by_class_and_split():
    (table,) = class_counts(clip_evaluation()).elements
    assert [column.title for column in table.columns] == ["class", "training", "calibration", "test", "anomalous"]
    assert table.rows[0][1:] == ["3", "1", "2", NONE] and table.rows[1][1:] == [NONE, NONE, NONE, "3"]
    assert table.rows[1][0].note == "anomalous" and table.rows[0][0].note == ""
    assert table.foot == ["all", "3", "1", "2", "3"]
    assert class_counts(image_evaluation()) is None
