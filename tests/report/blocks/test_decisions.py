from __future__ import annotations

import numpy as np
import pytest

from offnormal.drawing.wording import NONE
from offnormal.report.block import Table, Text
from offnormal.report.blocks.decisions import decisions, highest_scores, thresholds
from tests.evaluations import calibrated, clip_evaluation, image_evaluation, images, street, video_evaluation


def table_of(block):
    return next(element for element in block.elements if isinstance(element, Table))


def test_matrix_and_classification_report():
    evaluation = image_evaluation()
    (side,) = decisions(evaluation).elements
    (matrix,), (table,) = side.left, side.right
    confusion, report = evaluation.confusion, evaluation.classification
    assert (matrix.passed, matrix.false_alarms) == (confusion.passed, confusion.false_alarm)
    assert (matrix.missed, matrix.detected) == (confusion.missed, confusion.detected)
    rows = {row[0]: row[1:] for row in table.rows}
    for name, key in (("anomalous", "anomalous"), ("macro average", "macro avg"), ("weighted average", "weighted avg")):
        assert rows[name][:3] == [f"{report[key][column]:.3f}" for column in ("precision", "recall", "f1-score")]
    assert rows["micro average (accuracy)"] == [f"{report['accuracy']:.3f}"] * 3 + ["61"]


def test_a_class_that_is_not_there_has_dashes():
    (side,) = decisions(image_evaluation(items=images(anomalies={}))).elements
    table, note = side.right
    assert table.rows[1] == ["anomalous", NONE, NONE, NONE, "0"] and "without images" in note.text


def test_the_operating_points_mark_the_calibrated_one():
    evaluation = image_evaluation()
    table = table_of(thresholds(evaluation))
    row, confusion = table.rows[table.chosen], evaluation.confusion
    assert (row[0].badge, row[0].text) == ("calibrated", "7.365")
    assert (row[1], row[3]) == (str(confusion.false_alarm), str(confusion.missed))
    values = [float(row[0].text) for row in table.rows]
    assert values == sorted(values) and len(values) == len(evaluation.operating) + 1
    assert [bool(row[0].badge) for row in table.rows].count(True) == 1
    by_hand = table_of(thresholds(image_evaluation(calibration=calibrated().with_threshold(6.5))))
    assert by_hand.rows[by_hand.chosen][0].badge == "by hand"
    assert table_of(thresholds(image_evaluation(calibration=None))).chosen is None


def test_the_oracle_threshold_is_no_threshold_to_run_with():
    text = next(element for element in thresholds(clip_evaluation()).elements if isinstance(element, Text))
    assert text.label == "Oracle threshold."
    assert text.text.startswith("2.750 would pass 100 % of the normal clips and detect 66.7 % of the anomalous clips.")


@pytest.mark.parametrize(
    ("evaluation", "roc", "precision"),
    [
        (image_evaluation, "image_AUROC", "image_AP"),
        (video_evaluation, "frame_AUC_micro", "frame_AP"),
        (clip_evaluation, "clip_AUROC", "clip_AP"),
    ],
)
def test_the_curves_name_their_metrics(evaluation, roc, precision):
    block = evaluation()
    curves = next(element for element in thresholds(block).elements if hasattr(element, "plots")).plots
    assert [plot.about for plot in curves] == [
        f"area {block.metrics[roc]:.4f}",
        f"average precision {block.metrics[precision]:.4f}",
    ]
    assert all("at the threshold" in plot.svg for plot in curves)


def test_without_both_labels_there_is_no_other_threshold():
    assert thresholds(image_evaluation(items=images(anomalies={}))) is None
    assert decisions(video_evaluation()) is None and decisions(image_evaluation(calibration=None)) is None


def test_the_highest_scores_of_units_without_labels():
    evaluation = image_evaluation(items=images(normal=0, anomalies={}, unlabeled=30), pixel=None)
    (table,) = highest_scores(evaluation).elements
    best = int(np.argmax(evaluation.table.score))
    verdict = "anomalous" if evaluation.table.score[best] > evaluation.threshold else "normal"
    assert len(table.rows) == 15
    assert table.rows[0] == [
        f"new/{best:03}.png",
        f"{evaluation.table.score[best]:#.4g}",
        f"{evaluation.table.p_value[best]:.2g}",
        verdict,
    ]
    bare = highest_scores(clip_evaluation(is_calibrated=False, labeled=False, classes=False, split=False))
    assert [column.title for column in bare.elements[0].columns] == ["clip", "score"]
    assert highest_scores(image_evaluation()) is None
    assert highest_scores(video_evaluation(street(labeled=False))) is None
