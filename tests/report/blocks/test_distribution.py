from __future__ import annotations

import numpy as np

from offnormal.report.block import Legend, Plot, Table
from offnormal.report.blocks.distribution import distribution
from tests.evaluations import clip_evaluation, image_evaluation, images, video, video_evaluation


def parts(evaluation):
    elements = distribution(evaluation).elements
    return (next(element for element in elements if isinstance(element, kind)) for kind in (Legend, Plot, Table))


def test_groups_by_label_with_the_calibration_first():
    evaluation = image_evaluation()
    legend, plot, table = parts(evaluation)
    assert [name for name, _, _ in legend.rows] == ["normal", "anomalous", "normals of the calibration"]
    assert plot.svg != plot.narrow and "threshold 7.365" in plot.svg
    rows = {row[0]: row for row in table.rows}
    assert list(rows) == ["normals of the calibration", "normal", "anomalous"]
    assert rows["normals of the calibration"][1] == "199" and rows["normal"][1] == "40"
    assert rows["anomalous"][2].text == str(evaluation.confusion.caught)
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
    assert legend.rows[-1][0] == "logarithmic axis: the scores differ widely"


def test_nothing_scored_has_no_distribution():
    assert distribution(video_evaluation([video(np.random.default_rng(0), "01", 9, gone=9)], calibration=None)) is None
