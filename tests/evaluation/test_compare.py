from __future__ import annotations

import json

import numpy as np
import pytest

from offnormal.errors import CalibrationError, DataError, UsageError
from offnormal.evaluation.alarms import report_alarms
from offnormal.evaluation.compare import Difference, compare_runs, differing_options
from offnormal.events.machine import EventRules
from offnormal.metrics import image
from offnormal.metrics.video import frame_auc, min_max
from tests.evaluations import image_evaluation, image_run, images, video_run, write_run


def test_metrics_use_the_frames_that_every_run_scored(tmp_path):
    first = video_run(tmp_path / "a", videos=3, frames=40)
    second = video_run(tmp_path / "b", videos=3, frames=40, seed=1, unscored=9)
    comparison = compare_runs([first, second])
    first_row, second_row = comparison.rows
    assert (first_row.scored, first_row.excluded, first_row.not_scored) == (120, 27, 0)
    assert (second_row.scored, second_row.excluded, second_row.not_scored) == (93, 0, 27)
    assert comparison.common == 93
    for row in comparison.rows:
        table = row.run.table
        rows = table.frame >= 9
        labels, scores = table.label[rows], table.score[rows]
        assert row.metrics["frame_AUC_micro"] == pytest.approx(frame_auc(labels, scores))
        normed = np.concatenate([min_max(part) for part in scores.reshape(3, -1)])
        assert row.metrics["frame_AUC_micro_per_video_norm"] == pytest.approx(frame_auc(labels, normed))
        alarms = report_alarms(row.table.series(), row.run.threshold, EventRules(), row.run.low_threshold)
        assert row.alarms == alarms and alarms.footage_s == pytest.approx(9.3)


def test_a_significant_difference_is_no_noise(tmp_path):
    first = video_run(tmp_path / "a", power=1.0)
    same = video_run(tmp_path / "b", power=1.0, seed=1)
    better = video_run(tmp_path / "c", power=4.0, seed=2)
    comparison = compare_runs([first, same, better])
    assert comparison.rows[0].differences == {}
    assert comparison.rows[1].differences["frame_AUC_micro"].noise
    for name in comparison.metrics:
        assert not comparison.rows[2].differences[name].noise
        assert comparison.best[name] == "C", "EER too, where lower is better"
    assert (comparison.drawn.noun, comparison.drawn.count, comparison.draws) == ("videos", 8, 1000)
    assert Difference(0.1, None, None).noise is None


def test_no_row_is_best_among_equal_rows(tmp_path):
    first = video_run(tmp_path / "a", power=4.0, seed=3)
    comparison = compare_runs(
        [first, video_run(tmp_path / "b", power=4.0, seed=3), video_run(tmp_path / "c", power=0.5)]
    )
    assert comparison.best == {}
    tie = comparison.rows[1].differences["frame_AUC_micro"]
    assert (tie.value, tie.low, tie.high, tie.noise) == (0, 0, 0, True)


def test_differences_are_of_metrics_and_reproducible(tmp_path):
    folders = [video_run(tmp_path / "a"), video_run(tmp_path / "b", power=3.0, seed=1)]
    comparison, repeated = compare_runs(folders), compare_runs(folders)
    for name, difference in comparison.rows[1].differences.items():
        assert difference.value == comparison.rows[1].metrics[name] - comparison.rows[0].metrics[name]
        assert difference.low < difference.value < difference.high
    assert comparison.rows[1].differences == repeated.rows[1].differences


def test_anomalous_images_without_a_class_are_not_in_the_breakdown(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name, image_evaluation(items=images(anomalies={"crack": 12, "": 5}), bundle=name))
    comparison = compare_runs([tmp_path / "a", tmp_path / "b"])
    assert [list(row.breakdown) for row in comparison.rows] == [["crack"]] * 2


def test_a_single_video_is_cut_into_stretches(tmp_path):
    comparison = compare_runs([video_run(tmp_path / "a", videos=1), video_run(tmp_path / "b", videos=1, seed=1)])
    assert "stretches" in comparison.drawn.noun and comparison.drawn.count == 20
    differences = comparison.rows[1].differences
    assert differences["frame_AUC_micro"].low < differences["frame_AUC_micro"].high
    assert set(differences) == {"frame_AUC_micro", "frame_EER", "frame_AP"}, "the others repeat these"


def test_combined_sums_minus_log_p_values(tmp_path):
    folders = [video_run(tmp_path / "a"), video_run(tmp_path / "b", seed=1, scale=1e4)]
    comparison = compare_runs(folders, combine=True)
    *runs, combined = comparison.rows
    expected = -np.log(runs[0].run.table.p_value) - np.log(runs[1].run.table.p_value)
    np.testing.assert_allclose(combined.table.score, expected)
    labels = runs[0].run.table.label
    assert combined.metrics["frame_AUC_micro"] == pytest.approx(frame_auc(labels, expected))
    assert combined.metrics["frame_AUC_micro"] > max(row.metrics["frame_AUC_micro"] for row in runs)
    assert combined.threshold is combined.alarms is combined.run is None
    assert combined.seconds_per_unit == pytest.approx(0.02)
    assert combined.bundle_bytes == sum(row.bundle_bytes for row in runs)


def test_combine_names_the_run_without_p_values(tmp_path):
    folders = [video_run(tmp_path / "a"), video_run(tmp_path / "bare", calibrate=False)]
    with pytest.raises(CalibrationError, match=r"bare: frames without a p-value.*offnormal calibrate"):
        compare_runs(folders, combine=True)
    comparison = compare_runs(folders)
    assert comparison.rows[1].alarms is None and comparison.rows[0].alarms is not None


def test_an_unknown_cost_stays_unknown(tmp_path):
    folders = [video_run(tmp_path / "a"), video_run(tmp_path / "b", seconds_per_frame=None)]
    comparison = compare_runs(folders, combine=True)
    assert [row.seconds_per_unit for row in comparison.rows] == [pytest.approx(0.01), None, None]


def test_images_are_compared_as_images(tmp_path):
    folders = [image_run(tmp_path / "a", power=1.0), image_run(tmp_path / "b", power=4.0, seed=1)]
    comparison = compare_runs(folders, combine=True)
    assert comparison.metrics == ("image_AUROC", "image_AP", "image_F1") and comparison.drawn.noun == "images"
    row = comparison.rows[1]
    labels, scores = row.run.table.label, row.run.table.score
    assert row.metrics["image_AUROC"] == pytest.approx(image.auroc(labels, scores))
    assert row.confusion.detected == int(((scores > row.threshold) & (labels == 1)).sum())
    assert row.pixel == {"pixel_AUROC": 0.9712, "pixel_AUPRO": 0.8934, "pixel_F1": 0.6123}
    assert set(row.breakdown) == {"crack", "hole"} and comparison.rows[2].pixel == {}
    assert not row.differences["image_AUROC"].noise


def test_footage_without_a_clock_has_the_assumed_frame_rate(tmp_path):
    comparison = compare_runs([video_run(tmp_path / "a", fps=None), video_run(tmp_path / "b", fps=None, seed=1)])
    assert comparison.rows[0].alarms.footage_s == pytest.approx(480 / 25)


def test_without_labels_there_are_reasons_instead_of_metrics(tmp_path):
    comparison = compare_runs(
        [video_run(tmp_path / "a", labeled=False), video_run(tmp_path / "b", labeled=False, seed=1)]
    )
    assert comparison.metrics == () and comparison.draws == 0 and "label" in comparison.missing["frame_AUC_micro"]
    assert comparison.rows[0].alarms.alarms_per_hour is not None


def test_only_differing_options_are_listed(tmp_path):
    folders = [
        video_run(tmp_path / "a", eps=0.01, motion=True),
        video_run(tmp_path / "b", seed=1, eps=0.01, motion=False),
        video_run(tmp_path / "c", seed=2, detector="pixel_gaussian"),
    ]
    comparison = compare_runs(folders)
    assert comparison.options == {"eps": {"A": "0.01", "B": "0.01"}, "motion": {"A": "True", "B": "False"}}
    assert differing_options([comparison.rows[0].run, comparison.rows[0].run]) == {}


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
    first = video_run(tmp_path / "a")
    with pytest.raises(UsageError, match="at least two"):
        compare_runs([first])
    with pytest.raises(UsageError, match="duplicate run"):
        compare_runs([first, tmp_path / "x" / ".." / "a"])
    with pytest.raises(UsageError, match=r"a scores frames, .*i scores images"):
        compare_runs([first, image_run(tmp_path / "i")])
    other = video_run(tmp_path / "other", fingerprint="cd" * 32)
    values = json.loads((other / "metrics.json").read_text())
    values["data"]["name"] = "harbour"
    (other / "metrics.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"'street' \(fingerprint abab.*'harbour' \(cdcd.*offnormal evaluate"):
        compare_runs([first, other])
    other.joinpath("metrics.json").unlink()
    with pytest.raises(UsageError, match="run offnormal evaluate"):
        compare_runs([first, other])
