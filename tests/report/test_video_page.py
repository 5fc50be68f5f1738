from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offnormal.data.dataset import Skipped
from offnormal.report.video_page import render_videos
from offnormal.report.video_picture import VideoPicture
from offnormal.report.wording import NONE
from offnormal.types import Rate
from tests.report.conftest import CARD, EXACT, calibrated, frame_series, video_evaluation
from tests.report.test_page import read

RNG = np.random.default_rng(9)


def street(**given):
    """Two videos with spans and a third that is all normal."""
    rng = np.random.default_rng(4)
    spans = {"01": ((100, 160), (300, 330)), "02": ((0, 200),), "03": ()}
    return [frame_series(rng, name, 400, own, gone=4, **given) for name, own in spans.items()]


def shot(role, **given):
    values = {"video": "01", "frame": 120, "time_s": 24.0, "score": 9.0, "label": 1, **given}
    bump = np.exp(-np.hypot(*np.mgrid[-20:20, -30:30]) / 9).astype(np.float32)
    return VideoPicture(role=role, image=np.full((40, 60, 3), 120, np.uint8), map=9 * bump, mask=bump > 0.5, **values)


@pytest.fixture(scope="module")
def full():
    evaluation = video_evaluation(
        street(),
        pixel=EXACT,
        smooth_s=0.5,
        seconds_per_frame=0.0025,
        not_scored={name: [(0, 4, "before the first whole clip")] for name in ("01", "02", "03")},
        warnings={"02": ["truncated: 400 of 500 frames could be read"]},
        skipped=[Skipped(Path("/footage/test/bad.mp4"), "has no video stream")],
    )
    return evaluation, render_videos(evaluation, [shot("false_alarm"), shot("miss"), shot("peak")], CARD)


def test_headline_figures_come_first_and_are_the_evaluation_s(full):
    evaluation, html = full
    words = read(html).words
    places = []
    for name in ("frame_AUC_micro", "frame_AUC_macro", "frame_EER", "frame_AP", "pixel_AUROC", "pixel_AUPRO"):
        places.append(words.index(f"{name} {evaluation.metrics[name]:.4f}"))
    assert places == sorted(places)
    assert places[-1] < words.index("What was promised") < words.index("Scores over time")
    assert f"{evaluation.operation.caught}" in words


def test_what_papers_compare_stands_apart_and_smoothing_is_said(full):
    evaluation, html = full
    reader = read(html)
    metrics = evaluation.metrics
    suffixes = ("", "_smoothed", "_per_video_norm", "_smoothed_per_video_norm")
    row = next(row for row in reader.rows if row[0] == "frame_AUC_micro" and len(row) == 5)
    assert [cell.strip() for cell in row[1:]] == [f"{metrics['frame_AUC_micro' + suffix]:.4f}" for suffix in suffixes]
    assert "for comparison with papers only" in reader.words
    assert evaluation.detail.smoothing in reader.words
    assert reader.words.index("_per_video_norm") > reader.words.index("Scores over time"), "never as headline"


def test_every_video_stands_in_the_table_with_what_it_lacks(full):
    evaluation, html = full
    reader = read(html)
    for line in evaluation.detail.videos:
        row = reader.row(line.name)
        assert row[1:4] == ["1:20", "400", "4"] and row[4].startswith(str(line.anomalous))
        assert row[5] == (f"{line.auc:.4f}" if line.auc is not None else NONE)
        assert row[-1].startswith("4 not scored: before the first whole clip")
        assert ("no AUC: all 396 scored frames are normal" in row[-1]) is (line.auc is None)


def test_spans_alarms_pictures_and_warnings_are_listed(full):
    evaluation, html = full
    reader = read(html)
    for title in ("Labelled spans", "Alarms", "Worst false alarms", "Missed", "Highest frames"):
        assert title in reader.words
    assert reader.tags.count("img") == 6
    assert "02 truncated: 400 of 500 frames" in reader.words and "1 warning from reading" in reader.words
    assert reader.row("test/bad.mp4")[1] == "has no video stream"
    threshold = f"threshold {evaluation.calibration.threshold:.4g}"
    assert html.count(threshold) >= 2 * len(evaluation.videos), "on every timeline"


def test_cards_list_data_and_model(full):
    evaluation, html = full
    words = read(html).words
    for fact in (
        evaluation.fingerprint,
        "3 videos, 1,200 frames",
        "labels of every video",
        "masks none",
        "scoring took 2.5 ms a frame, decoding included (400 frames per second)",
        "bundle 0123abcd",
        "licence Apache-2.0",
        "57" * 32,
        f"calibration {evaluation.calibration.id}",
        "padim on efficientnet_lite0",
    ):
        assert fact in words, fact


def test_no_labels_at_all():
    evaluation = video_evaluation(street(labelled=False))
    reader = read(render_videos(evaluation, [shot("peak", label=None)], {}))
    assert "without labels" in reader.words and "per hour" in reader.words
    assert "0.0000" not in reader.words and "frame_AUC_micro, frame_EER" in reader.words
    assert "Labelled spans" not in reader.words and "AUC" not in [cell for row in reader.rows for cell in row]
    assert len(evaluation.operation.alarms) == int(reader.row("01")[4]) + sum(
        int(reader.row(name)[4]) for name in ("02", "03")
    )
    assert "no label" in reader.words


def test_no_labels_no_calibration_no_clock_no_pictures():
    reader = read(render_videos(video_evaluation(street(labelled=False, fps=None), calibration=None), [], {}))
    assert "without verdicts" in reader.words and "run offnormal calibrate" in reader.words
    assert "Alarms" not in reader.words and "Pictures" not in reader.words


@pytest.mark.parametrize("calibration", [None, "default"])
def test_one_video_without_a_single_score(calibration):
    silent = replace(street()[0], scores=np.full(400, np.nan))
    words = read(render_videos(video_evaluation([silent], calibration=calibration), [], {})).words
    assert "no frame was scored" in words


def test_only_normal_footage():
    words = read(render_videos(video_evaluation([frame_series(RNG, "01", 300)]), [], CARD)).words
    assert "no labelled span with a score" in words and "both kinds are needed" in words


def test_many_long_videos_stay_below_five_megabytes():
    rng = np.random.default_rng(0)
    series = [frame_series(rng, f"{i:03}", 3000, ((500, 700),), lift=1.0) for i in range(107)]
    noise = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    pictures = [
        replace(shot(role), video=one.name, image=noise, map=noise[..., 0].astype(np.float32), mask=None)
        for role in ("false_alarm", "miss", "peak")
        for one in series[:20]
    ]
    html = render_videos(video_evaluation(series), pictures, CARD)
    assert len(html.encode()) < 5_000_000
    reader = read(html)
    assert "95 other videos" in reader.words and reader.tags.count("details") == 1
    assert "more; scores.csv has every frame" in reader.words


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", 'a" onload="x', "Tür " * 60, "划痕 $x_1$ &amp;", "\udcff"]
)
def test_any_name_is_text(name):
    one = frame_series(RNG, name, 200, ((50, 90),), gone=2)
    evaluation = video_evaluation([one], warnings={name: [name]}, not_scored={name: [(0, 2, name)]})
    reader = read(render_videos(evaluation, [shot("peak", video=name)], CARD).encode("utf-8").decode("utf-8"))
    assert reader.row(" ".join(name.replace("\udcff", "?").split()))[2] == "200"


def test_a_promise_per_hour_names_its_unit():
    calibration = replace(calibrated(), rate=Rate(2, "hour"))
    words = read(render_videos(video_evaluation(street(), calibration=calibration), [], CARD)).words
    assert "false alarms per hour" in words and "per 100 promised" not in words


def test_importing_is_cheap(tmp_path):
    code = (
        "import sys, offnormal.report.video_page\n"
        "heavy = {'torch', 'matplotlib', 'jinja2', 'sklearn', 'scipy.stats'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
