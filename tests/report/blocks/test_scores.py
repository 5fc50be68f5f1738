from __future__ import annotations

from offnormal.drawing.axis import ScoreAxis
from offnormal.report.blocks.scores import axis_text, by_label, labeled_scores
from tests.evaluations import clip_evaluation, image_evaluation, images


def test_only_units_tested_on_are_counted():
    groups = by_label(clip_evaluation())
    assert {name: scores.tolist() for name, scores in groups.items()} == {
        "normal": [1.3, 2.5],
        "anomalous": [1.35, 3.0, 4.0],
        "without a label": [],
    }
    known = labeled_scores(clip_evaluation())
    assert known.labels.tolist() == [False, False, True, True, True] and known.has_both


def test_units_without_a_label_are_a_group():
    evaluation = image_evaluation(items=images(anomalies={}, unlabeled=3))
    assert {name: scores.size for name, scores in by_label(evaluation).items()} == {
        "normal": 40,
        "anomalous": 0,
        "without a label": 3,
    }
    assert not labeled_scores(evaluation).has_both


def test_a_bent_axis_is_named():
    assert [axis_text(ScoreAxis(kind, 1, 2)) for kind in ("linear", "log", "asinh")] == [
        "",
        "logarithmic axis",
        "asinh axis",
    ]
