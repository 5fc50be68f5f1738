from __future__ import annotations

import numpy as np

from offnormal.drawing.axis import ScoreAxis
from offnormal.drawing.wording import NONE
from offnormal.report.block import Legend, Plot, Table
from offnormal.report.blocks.scores import axis_text, by_label, class_counts, classes, distribution, labeled_scores
from tests.evaluations import clip_evaluation, image_evaluation, images, video, video_evaluation


def test_only_units_tested_on_are_counted():
    groups = by_label(clip_evaluation())
    assert {name: scores.tolist() for name, scores in groups.items()} == {
        "normal": [1.3, 2.5],
        "anomalous": [1.35, 3.0, 4.0],
        "without a label": [],
    }
    labels, scores = labeled_scores(clip_evaluation())
    assert labels.tolist() == [False, False, True, True, True] and scores.tolist() == [1.3, 2.5, 1.35, 3.0, 4.0]


def test_units_without_a_label_are_a_group():
    evaluation = image_evaluation(items=images(anomalies={}, unlabeled=3))
    assert {name: scores.size for name, scores in by_label(evaluation).items()} == {
        "normal": 40,
        "anomalous": 0,
        "without a label": 3,
    }
    assert not labeled_scores(evaluation)[0].any()


def test_a_bent_axis_is_named():
    assert [axis_text(ScoreAxis(kind, 1, 2)) for kind in ("linear", "log", "asinh")] == [
        "",
        "logarithmic axis",
        "asinh axis",
    ]


def parts(evaluation):
    elements = distribution(evaluation).elements
    return (next(element for element in elements if isinstance(element, kind)) for kind in (Legend, Plot, Table))


def test_groups_by_label_with_the_calibration_first():
    evaluation = image_evaluation()
    legend, plot, table = parts(evaluation)
    assert [name for name, _, _ in legend.rows] == ["normal", "anomalous", "calibration set"]
    assert plot.svg != plot.narrow and "threshold 7.365" in plot.svg
    rows = {row[0]: row for row in table.rows}
    assert list(rows) == ["calibration set", "normal", "anomalous"]
    assert rows["calibration set"][1] == "199" and rows["normal"][1] == "40"
    assert rows["anomalous"][2].text == str(evaluation.confusion.detected)
    assert rows["anomalous"][3] == f"{np.median(evaluation.table.score[40:]):#.4g}"


def test_groups_by_split_where_the_dataset_is_divided():
    _, _, table = parts(clip_evaluation())
    assert [row[:2] for row in table.rows] == [
        ["normal, training", "3"],
        ["normal, calibration", "1"],
        ["normal, test", "2"],
        ["anomalous", "3"],
    ]
    assert [row[2].text for row in table.rows] == ["0", "0", "1", "2"]


def test_without_a_threshold_nothing_is_above_it():
    _, _, table = parts(image_evaluation(calibration=None, items=images(unlabeled=5)))
    assert [row[0] for row in table.rows] == ["normal", "anomalous", "without a label"]
    assert len(table.columns) == 4 == len(table.rows[0])


def test_scores_that_differ_widely_are_on_another_axis():
    legend, _, _ = parts(image_evaluation(items=images(power=900.0)))
    assert legend.rows[-1][0] == "logarithmic axis because of the wide range of scores"


def test_nothing_scored_has_no_distribution():
    assert distribution(video_evaluation([video(np.random.default_rng(0), "01", 9, gone=9)], calibration=None)) is None


def test_types_of_anomaly_with_detections_and_auroc():
    evaluation = image_evaluation()
    table = classes(evaluation).elements[0]
    rows = {row[0]: row for row in table.rows}
    assert list(rows) == ["good", "crack", "hole"]
    for block in evaluation.classes[1:]:
        row = rows[block.name]
        assert row[1] == str(sum(block.counts.values())) and row[2].text == f"detected {block.correct.count}"
        assert row[4] == f"{block.auroc:.4f}" and 'class="box"' in row[5].svg
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
