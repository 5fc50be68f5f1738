from __future__ import annotations

import numpy as np

from offnormal.drawing.wording import NONE
from offnormal.report.summary import render_summary
from tests.evaluations import clip_evaluation, image_evaluation, images, video_evaluation
from tests.html_reader import read

ANY = ("",)


def test_categories_and_their_mean():
    first, second = image_evaluation(), image_evaluation(items=images(anomalies={"crack": 5}), pixel=None)
    rows = [("bottle", first, "bottle/report.html"), ("cable", second, "cable/report.html")]
    reader = read(render_summary(rows), links=ANY)
    for name, evaluation, _ in rows:
        row, confusion = reader.row(name), evaluation.confusion
        assert row[1] == str(len(evaluation.table)) and row[2] == f"{evaluation.metrics['image_AUROC']:.4f}"
        assert row[-2].startswith(f"{confusion.missed} of ") and row[-1].startswith(f"{confusion.false_alarm} of 40 ")
    mean = np.mean([evaluation.metrics["image_AUROC"] for evaluation in (first, second)])
    assert reader.row("mean")[2] == f"{mean:.4f}"
    assert reader.row("mean")[5] == f"{first.metrics['pixel_AUROC']:.4f} over 1"
    assert reader.row("cable")[5] == NONE


def test_videos_and_clips_have_a_summary():
    street, acts = video_evaluation(), clip_evaluation()
    row = read(render_summary([("street", street, "a.html")]), links=ANY).row("street more false alarms than expected")
    assert row[1] == "3" and row[2] == f"{street.metrics['frame_AUC_micro']:.4f}"
    assert row[-2] == "0 of 3" and row[-1] == "0 0 per hour"
    row = read(render_summary([("acts", acts, "a.html")]), links=ANY).row("acts")
    assert row[2:] == ["0.8333", "0.9167", "1 of 3 33.3 per 100", "1 of 2 50.0 per 100"]


def test_links_are_relative_quoted_and_harmless():
    rows = [
        ("a <b>", image_evaluation(), "täle 1#x/report.html"),
        ("j", image_evaluation(calibration=None), "javascript:alert(1)"),
    ]
    reader = read(render_summary(rows), links=ANY)
    links = [value for name, value in reader.attributes if name == "href"]
    assert links == ["t%C3%A4le%201%23x/report.html", "javascript%3Aalert%281%29"]
    assert "a <b>" in reader.words and "not calibrated" in reader.words


def test_a_category_whose_guarantee_is_broken_is_marked():
    def words(evaluation):
        return read(render_summary([("a", evaluation, "a.html")]), links=ANY).words

    assert "more false alarms than expected" in words(image_evaluation(items=images(shift=4.0)))
    assert "more false alarms" not in words(image_evaluation())
