from __future__ import annotations

import numpy as np

from offnormal.report.summary import render_summary
from offnormal.report.wording import NONE
from tests.report.test_page import Reader


def read(html):
    reader = Reader()
    reader.feed(html)
    assert not reader.open and "http" not in html
    return reader


def test_categories_and_their_mean(make):
    first, second = make(), make(defects={"crack": 5}, pixel=None)
    reader = read(render_summary([("bottle", first, "bottle/report.html"), ("cable", second, "cable/report.html")]))
    for name, found in (("bottle", first), ("cable", second)):
        row = reader.row(name)
        assert row[1] == str(len(found.rows)) and row[2] == f"{found.metrics['image_AUROC']:.4f}"
        assert row[-2].startswith(f"{found.confusion.escape} of ")
    mean = np.mean([found.metrics["image_AUROC"] for found in (first, second)])
    assert reader.row("mean")[2] == f"{mean:.4f}"
    assert reader.row("mean")[5] == f"{first.metrics['pixel_AUROC']:.4f}over 1"
    assert reader.row("cable")[5] == NONE


def test_links_are_relative_quoted_and_harmless(make):
    rows = [("a <b>", make(), "täle 1#x/report.html"), ("j", make(calibration=None), "javascript:alert(1)")]
    reader = read(render_summary(rows))
    links = [value for name, value in reader.attributes if name == "href"]
    assert links == ["t%C3%A4le%201%23x/report.html", "javascript%3Aalert%281%29"]
    assert "a <b>" in reader.words and "not calibrated" in reader.words


def test_a_category_whose_promise_was_broken_is_marked(make):
    assert "more false alarms than promised" in read(render_summary([("a", make(shift=4.0), "a.html")])).words
    assert "more false alarms" not in read(render_summary([("a", make(), "a.html")])).words
