from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from offnormal.metrics.accumulate import PixelResult
from offnormal.report.page import render
from offnormal.report.wording import NONE
from tests.report.conftest import CARD, EXACT, Maker, calibrated, picture

BLOCKS = {"h1", "h2", "h3", "p", "div", "dt", "dd", "td", "th", "span", "br"}
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """Text by heading, tables as rows of cells, and every attribute; fails on tags that do not match."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.rows, self.attributes = [], [], [], []
        self.words = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.words += " " * (tag in BLOCKS)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, name):
        """Cells of the first table row whose head is `name`."""
        rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        return next(row for row in rows if row and row[0] == name)


def read(html):
    """The page, checked for what holds for every report."""
    reader = Reader()
    reader.feed(html)
    assert not reader.open
    reader.words = " ".join(reader.words.split())
    assert "http" not in html, "no address outside"
    assert "script" not in reader.tags and "link" not in reader.tags and "@import" not in html
    for name, value in reader.attributes:
        assert not name.startswith("on")
        if name == "src":
            assert value.startswith("data:image/webp;base64,")
        if name == "href":
            assert value.startswith("#")
    assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)\)", html))
    return reader


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An evaluation with everything in it, and its report."""
    evaluation = Maker(tmp_path_factory.mktemp("plain")).evaluation()
    return evaluation, render(evaluation, [], CARD)


def test_headline_figures_are_the_evaluation_s(plain):
    evaluation, html = plain
    words = read(html).words
    for name in ("image_AUROC", "image_AP", "image_F1", "pixel_AUROC", "pixel_AUPRO", "pixel_F1"):
        assert f"{name} {evaluation.metrics[name]:.4f}" in words
    counts = evaluation.confusion
    for share, title in (
        (counts.escapes_per_100_bad, "Escapes"),
        (counts.false_alarms_per_100_good, "False alarms"),
    ):
        assert f"{title} {share.count} of {share.of} " in words
        assert f"{share.high:.1f}" in words
    assert f"{counts.caught} of 21 anomalous pictures caught" in words


def test_promise_stands_beside_what_happened(plain):
    evaluation, html = plain
    words = read(html).words
    explanation = evaluation.calibration.explanation
    assert explanation[0].upper() + explanation[1:] in words
    assert f"{evaluation.confusion.false_alarm} of 40 normal test pictures were called anomalous" in words
    assert "agrees with the promise" in words


def test_a_broken_promise_is_said(make):
    words = read(render(make(shift=4.0), [], CARD)).words
    assert "more than promised, beyond chance" in words and "agrees with the promise" not in words


def test_a_threshold_by_hand_promises_nothing(make):
    evaluation = make(calibration=calibrated().with_threshold(6.5))
    reader = read(render(evaluation, [], CARD))
    assert "no false-alarm rate is promised" in reader.words and "by hand 6.5" in reader.words
    assert "agrees with" not in reader.words


def test_confusion_and_classification_report(plain):
    evaluation, html = plain
    reader = read(html)
    counts, report = evaluation.confusion, evaluation.classification
    assert reader.row("is normal")[1:] == [f"{counts.true_normal} passed", f"{counts.false_alarm} false alarms"]
    assert reader.row("is anomalous")[1:] == [f"{counts.escape} escapes", f"{counts.caught} caught"]
    for shown, key in (
        ("normal", "normal"),
        ("anomalous", "anomalous"),
        ("macro average", "macro avg"),
        ("weighted average", "weighted avg"),
    ):
        expected = [f"{report[key][name]:.3f}" for name in ("precision", "recall", "f1-score")]
        assert reader.row(shown)[1:4] == expected
    assert reader.row("micro average (accuracy)")[1:] == [f"{report['accuracy']:.3f}"] * 3 + ["61"]


def test_table_of_thresholds_marks_the_calibrated_one(plain):
    evaluation, html = plain
    reader = read(html)
    threshold, counts = evaluation.calibration.threshold, evaluation.confusion
    row = reader.row(f"calibrated {threshold:#.4g}")
    assert row[1] == str(counts.false_alarm) and row[3] == str(counts.escape)
    assert html.count('class="chosen"') == 1
    for point in evaluation.operating:
        row = reader.row(f"{point.threshold:#.4g}")
        assert row[1] == str(point.false_alarms) and row[3] == str(point.escapes)
    operating = html[html.index('class="operating"') :]
    shown = re.findall(r'<tr[^>]*>\s*<td class="num">(?:<span.*?</span> )?([\d.]+)</td>', operating)
    assert len(shown) == len(evaluation.operating) + 1
    assert [float(value) for value in shown] == sorted(float(value) for value in shown)


def test_kinds_show_counts_catches_and_auroc(plain):
    evaluation, html = plain
    reader = read(html)
    for defect in evaluation.defects:
        row = reader.row(defect.defect)
        assert row[1] == str(defect.count) and row[2].split()[0] == str(defect.caught)
        assert row[3] == f"{defect.auroc:.4f}"
    assert reader.row("normals of the test")[2].split()[0] == str(evaluation.confusion.false_alarm)
    assert reader.row("normals of the calibration")[1] == "199"


def test_pictures_with_their_panels_and_the_legend(make):
    evaluation = make()
    shots = [picture(evaluation, role, index) for role, index in (("miss", 45), ("false_alarm", 3), ("caught", 50))]
    shots[1] = replace(shots[1], mask=None)
    reader = read(render(evaluation, shots, CARD))
    assert reader.tags.count("img") == 8
    assert [reader.words.index(title) for title in ("Worst misses", "Worst false alarms", "Typical catches")]
    assert f"1 of {evaluation.confusion.escape} shown" in reader.words
    row = shots[0].row
    ratio = row.score / evaluation.calibration.threshold
    assert f"score {row.score:#.4g} ({ratio:.2f} \N{MULTIPLICATION SIGN} threshold)" in reader.words
    assert f"pixel threshold {evaluation.calibration.pixel_threshold:#.4g}" in reader.words
    assert all(value for name, value in reader.attributes if name == "alt")


def test_pictures_without_maps_have_no_legend(make):
    evaluation = make(pixel=None)
    shots = [picture(evaluation, "miss", 45, mapped=False, masked=False)]
    reader = read(render(evaluation, shots, CARD))
    assert reader.tags.count("img") == 1 and "Colour of the heat map" not in reader.words


def test_no_calibration(make):
    evaluation = make(calibration=None)
    reader = read(render(evaluation, [picture(evaluation, "caught", 45)], CARD))
    assert "not calibrated" in reader.words and "run offnormal calibrate" in reader.words
    assert f"image_AUROC {evaluation.metrics['image_AUROC']:.4f}" in reader.words
    assert "Escapes 0" not in reader.words and "Decisions at" not in reader.words
    assert reader.row("crack")[2] == NONE


def test_without_verdicts_nothing_is_said_to_be_called_anomalous(make):
    evaluation = make(calibration=None)
    words = read(
        render(evaluation, [picture(evaluation, "false_alarm", 3), picture(evaluation, "caught", 45)], {})
    ).words
    assert "Highest normal pictures" in words and "Anomalous pictures" in words
    assert "were called" not in words


def test_no_labels_at_all(make):
    evaluation = make(normal=0, defects={}, unlabelled=30, pixel=None)
    reader = read(render(evaluation, [], CARD))
    above = sum(row.anomalous for row in evaluation.rows)
    assert f"{above} of 30 pictures without labels score above the threshold" in reader.words
    assert "no labels: both normal and anomalous ones are needed" in reader.words
    assert "It holds no pictures labelled normal" in reader.words
    best = max(evaluation.rows, key=lambda row: row.score)
    assert reader.row(best.sample.item.path.name)[1] == f"{best.score:#.4g}"


def test_scores_only(make):
    evaluation = make(normal=0, defects={}, unlabelled=30, pixel=None, calibration=None)
    reader = read(render(evaluation, [], {}))
    assert "30 pictures scored, without verdicts" in reader.words
    assert "verdict" not in [cell for row in reader.rows for cell in row]


def test_only_normals(make):
    evaluation = make(defects={}, pixel=None)
    reader = read(render(evaluation, [], CARD))
    assert "no anomalous pictures in the test" in reader.words
    assert "only normal pictures: both normal and anomalous ones are needed" in reader.words
    assert "threshold per 100" not in reader.words and reader.tags.count("figure") == 0
    assert reader.row("anomalous") == ["anomalous", NONE, NONE, NONE, "0"]


def test_only_anomalous(make):
    reader = read(render(make(normal=0, pixel=None), [], CARD))
    assert "no normal pictures in the test" in reader.words and reader.row("crack")[3] == NONE


def test_no_masks_gives_the_reason(make):
    words = read(render(make(pixel=None), [], CARD)).words
    assert words.count("there are no masks") == 4  # three tiles and the list


def test_error_bounds_are_told_where_pixels_were_binned(make):
    bounded = replace(EXACT, exact=False, auroc_error_bound=2e-5, aupro_error_bound=3e-4, f1_error_bound=4e-3)
    words = read(render(make(pixel=bounded), [], CARD)).words
    assert "within 2e-05 of the exact" in words and "within 0.0003 of" in words and "at most 0.004 below" in words
    assert "counted in bins" not in read(render(make(), [], CARD)).words


def test_masks_that_mark_nothing(make):
    words = read(render(make(pixel=PixelResult(None, None, None, None, 9, 0, True)), [], CARD)).words
    assert "the masks mark no pixel" in words


def test_hundreds_of_skipped_files_are_counted_and_capped(make):
    reader = read(render(make(skipped=312), [], CARD))
    assert "312 files were left out" in reader.words and "and 287 more" in reader.words
    assert reader.row("bad/024.png") == ["bad/024.png", "is cut short"]
    assert "bad/025.png" not in reader.words
    assert "left out" not in read(render(make(), [], CARD)).words


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", 'a" onload="x', "Türrahmen " * 30, "划痕 $x_1$ &amp;", "\udcff broken"]
)
def test_any_name_is_text(make, name):
    evaluation = make(name=name, defects={name: 10})
    shot = picture(evaluation, "miss", 45)
    item = replace(shot.row.sample.item, address=str(evaluation.dataset.root / f"{name.replace('/', '|')}.png"))
    sample = replace(shot.row.sample, item=item)
    html = render(evaluation, [replace(shot, row=replace(shot.row, sample=sample))], CARD)
    reader = read(html.encode("utf-8").decode("utf-8"))
    assert reader.row(" ".join(name.replace("\udcff", "?").split()))[1] == "10"


def test_cards_list_data_and_model(plain):
    evaluation, html = plain
    words = read(html).words
    for fact in (
        evaluation.fingerprint,
        "f1" * 32,
        "199 normal pictures of parts-train, mvtec layout",
        "61 pictures: 40 normal, 21 anomalous",
        "bundle 0123abcd",
        "detector layers b1, b2",
        "input size 256 x 320",
        "licence Apache-2.0",
        "57" * 32,
        "torch 2.6.0",
        "e5" * 32,
        f"calibration {evaluation.calibration.id}",
        "padim on efficientnet_lite0",
    ):
        assert fact in words, fact


def test_importing_is_cheap_and_rendering_needs_no_torch(tmp_path):
    code = (
        "import sys, offnormal.report.page, offnormal.report.summary\n"
        "heavy = {'torch', 'matplotlib', 'jinja2', 'sklearn', 'scipy.stats'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_templates_lie_in_the_package():
    import offnormal.report

    folder = Path(offnormal.report.__file__).parent / "templates"
    assert {path.name for path in folder.iterdir()} >= {"report.html.j2", "summary.html.j2", "style.css"}
