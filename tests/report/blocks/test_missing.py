from __future__ import annotations

from dataclasses import replace

import pytest

from offnormal.metrics.accumulate import PixelResult
from offnormal.report.blocks.missing import links, missing, skipped, warnings
from tests.evaluations import EXACT, image_evaluation, street, video_evaluation


def facts(evaluation):
    return {fact.name: fact.value for fact in missing(evaluation).elements[0].rows}


def test_metrics_missing_for_one_reason_are_listed_together():
    evaluation = video_evaluation(street(labeled=False), smooth_s=1.0, calibration=None)
    rows = facts(evaluation)
    assert rows["frame_AUC_micro, frame_EER, frame_AP, frame_AUC_macro, and 12 variants"].startswith("no frame has")
    assert rows["pixel metrics"] == "there are no masks"
    assert rows["threshold and verdicts"] == "the detector is not calibrated: run offnormal calibrate"
    assert "threshold and verdicts" not in facts(video_evaluation())
    assert missing(image_evaluation()) is None


def test_error_bounds_are_stated_where_pixels_were_binned():
    bounded = replace(EXACT, exact=False, auroc_error_bound=2e-5, aupro_error_bound=3e-4, f1_error_bound=4e-3)
    rows = facts(image_evaluation(pixel=bounded))
    start = "1,000 pixels were counted in bins to bound the memory: "
    assert rows["pixel_AUROC"] == start + "within 2e-05 of the exact value"
    assert rows["pixel_AUPRO"] == start + "within 0.0003 of the exact value"
    assert rows["pixel_F1"] == start + "at most 0.004 below the exact value"
    assert "pixel_F1" not in facts(video_evaluation(pixel=bounded)), "videos have no such metric"


def test_masks_that_mark_nothing():
    rows = facts(image_evaluation(pixel=PixelResult(None, None, None, None, 9, 0, True)))
    assert rows["pixel metrics"] == "the masks mark no pixel, or every pixel"


@pytest.mark.parametrize(
    ("number", "title", "link"), [(1, "1 file", "1 file was"), (312, "312 files", "312 files were")]
)
def test_skipped_files_are_counted_and_capped(number, title, link):
    evaluation = image_evaluation(skipped=number)
    block = skipped(evaluation)
    assert block.title == f"{title} skipped" and links(evaluation) == [(f"{link} skipped", "skipped")]
    (table,) = block.elements
    assert table.rows[0] == ["bad/000.png", "is cut short"]
    assert (len(table.rows), table.more) == (min(number, 25), max(number - 25, 0))


def test_warnings_are_counted_and_capped():
    evaluation = video_evaluation(warnings={"01": tuple(f"warning {i}" for i in range(40)), "02": ()})
    (table,) = warnings(evaluation).elements
    assert (table.rows[0], len(table.rows), table.more) == (["01", "warning 0"], 25, 15)
    assert links(evaluation) == [("40 warnings from reading", "warnings")]
    assert (
        warnings(image_evaluation()) is None and skipped(image_evaluation()) is None and links(image_evaluation()) == []
    )
