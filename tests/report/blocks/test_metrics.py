from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offnormal.drawing.wording import NONE
from offnormal.metrics.accumulate import PixelResult
from offnormal.report.blocks.metrics import links, missing, skipped, terms, tiles, variants, warnings
from tests.evaluations import EXACT, clip_evaluation, image_evaluation, images, street, video, video_evaluation


def test_tiles_have_every_metric_or_the_reason():
    evaluation = image_evaluation(pixel=None)
    rows = {tile.name: tile for tile in tiles(evaluation)}
    assert list(rows) == ["image_AUROC", "image_AP", "image_F1", "pixel_AUROC", "pixel_AUPRO", "pixel_F1"]
    assert rows["image_AUROC"].value == evaluation.metrics["image_AUROC"]
    assert (rows["pixel_AUPRO"].value, rows["pixel_AUPRO"].note) == (None, "there are no masks")
    only_normal = {tile.name: tile.note for tile in tiles(image_evaluation(items=images(anomalies={})))}
    assert only_normal["image_AUROC"] == "only normal images: both normal and anomalous units are needed"
    assert tiles(image_evaluation(items=images(normal=0, anomalies={}, unlabeled=9), pixel=None)) == []
    assert [tile.name for tile in tiles(clip_evaluation())] == ["clip_AUROC", "clip_AP"]


def test_macro_says_over_how_many_videos():
    items = [*street()[:1], video(np.random.default_rng(0), "02", 40)]
    rows = {tile.name: tile for tile in tiles(video_evaluation(items, calibration=None, pixel=EXACT))}
    assert rows["frame_AUC_macro"].note == "the same within each video, averaged over 1 of 2 videos"
    assert rows["pixel_AUPRO"].value == 0.8934 and "pixel_F1" not in rows


def test_what_repeats_itself_for_one_video_has_one_row():
    evaluation = video_evaluation(street()[:1], smooth_s=2.0)
    names = ["frame_AUC_micro", "frame_EER", "frame_AP"]
    assert [tile.name for tile in tiles(evaluation)][:3] == names
    assert "frame_AUC_macro_per_video_norm" in evaluation.metrics
    assert sorted(evaluation.distinct_metrics) == sorted([*names, *(f"{name}_smoothed" for name in names)])
    table, _ = variants(evaluation).elements
    assert [row[0] for row in table.rows] == names and len(table.columns) == 3
    assert variants(video_evaluation(street()[:1])) is None
    assert "frame_AUC_macro" in {tile.name for tile in tiles(video_evaluation(street()))}


def test_variants_keep_what_is_for_papers_apart():
    plain, smooth = video_evaluation(), video_evaluation(smooth_s=2.0)
    table, papers = variants(plain).elements
    assert [column.title for column in table.columns] == ["metric", "raw scores", "_per_video_norm"]
    assert papers.label == "_per_video_norm:"
    table, smoothing, papers = variants(smooth).elements
    assert table.groups == [("", 1), ("one threshold for all videos", 2), ("only to compare with papers", 2)]
    assert table.rows[0][:2] == ["frame_AUC_micro", f"{plain.metrics['frame_AUC_micro']:.4f}"]
    assert "sigma 2 seconds" in smoothing.text
    assert variants(image_evaluation()) is None
    assert variants(video_evaluation(street(labeled=False))) is None


def test_terms_come_best_first_with_what_is_known_of_each():
    measured = {"ae": {"frame_AUC_micro": 0.6, "frame_EER": 0.4}, "knn": {"frame_AUC_micro": 0.7}, "psnr": {}}
    table = terms(replace(image_evaluation(), terms=measured)).elements[0]
    assert [column.title for column in table.columns] == ["term", "frame_AUC_micro", "frame_EER"]
    assert table.rows == [["knn", "0.7000", NONE], ["ae", "0.6000", "0.4000"]]


def test_one_term_alone_is_the_score_itself():
    assert terms(replace(image_evaluation(), terms={"error": {"image_AUROC": 0.7}})) is None
    assert terms(image_evaluation()) is None


def facts(evaluation):
    return {fact.name: fact.value for fact in missing(evaluation).elements[0].rows}


def test_metrics_missing_for_one_reason_are_listed_together():
    evaluation = video_evaluation(street(labeled=False), smooth_s=1.0, calibration=None)
    rows = facts(evaluation)
    assert rows["frame_AUC_micro, frame_EER, frame_AP, frame_AUC_macro, and 12 variants"].startswith("no frame has")
    assert rows["pixel metrics"] == "there are no masks"
    assert rows["threshold and verdicts"] == "the detector is not calibrated; run offnormal calibrate"
    assert "threshold and verdicts" not in facts(video_evaluation())
    assert missing(image_evaluation()) is None


def test_error_bounds_are_stated_where_pixels_were_binned():
    bounded = replace(EXACT, exact=False, auroc_error_bound=2e-5, aupro_error_bound=3e-4, f1_error_bound=4e-3)
    rows = facts(image_evaluation(pixel=bounded))
    start = "1,000 pixels were counted in bins to save memory: "
    assert rows["pixel_AUROC"] == start + "within 2e-05 of the exact value"
    assert rows["pixel_AUPRO"] == start + "within 0.0003 of the exact value"
    assert rows["pixel_F1"] == start + "at most 0.004 below the exact value"
    assert "pixel_F1" not in facts(video_evaluation(pixel=bounded)), "videos have no such metric"


def test_masks_that_mark_nothing():
    rows = facts(image_evaluation(pixel=PixelResult(None, None, None, None, 9, 0, True)))
    assert rows["pixel metrics"] == "the masks mark no pixel"


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
