from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from offnormal.metrics.memory_use import MemoryUse
from offnormal.report.page import render_evaluation
from offnormal.training.history import History
from tests.evaluations import (
    CARD,
    EXACT,
    clip_evaluation,
    image_evaluation,
    images,
    shown_unit,
    street,
    video,
    video_evaluation,
)
from tests.html_reader import read

TRICKY = ["<script>alert(1)</script>", 'a" onload="x', "Türrahmen " * 30, "划痕 $x_1$ &amp;", "\udcff broken"]


def one_line(name):
    return " ".join(name.replace("\udcff", "?").split())


def test_the_blocks_of_images():
    use = MemoryUse()
    use.update(np.array([[1.0, 0.0], [0.5, 0.5]]), [0, 1])
    evaluation = image_evaluation(skipped=2, memory_use=use, warnings={"crack/041.png": ("16 bits reduced to 8",)})
    history = History(steps={1: {"g": {"loss": 0.5}}, 2: {"g": {"loss": 0.4}}})
    reader = read(render_evaluation(evaluation, [shown_unit(evaluation, "miss", 45)], CARD, history))
    assert reader.titles() == [
        "summary", "guarantee", "gallery", "scores", "classes", "decisions", "thresholds",
        "warnings", "skipped", "memory", "training", "data", "model",
    ]  # fmt: skip
    assert "2 files were skipped" in reader.words and "1 warning from reading" in reader.words
    assert "padim on efficientnet_lite0" in reader.words


def test_the_blocks_of_videos():
    rows = sum(len(item.scores) for item in street())
    terms = {"knn": np.arange(rows, dtype=float), "ae": np.zeros(rows)}
    evaluation = video_evaluation(pixel=EXACT, smooth_s=0.5, terms=terms)
    reader = read(render_evaluation(evaluation, [shown_unit(evaluation, "peak", 70)], CARD))
    assert reader.titles() == [
        "summary", "guarantee", "timeline", "gallery", "scores", "thresholds", "videos", "spans", "alarms",
        "variants", "terms", "data", "model",
    ]  # fmt: skip


def test_the_blocks_of_clips():
    evaluation = clip_evaluation(vectors=True)
    reader = read(render_evaluation(evaluation, [shown_unit(evaluation, "miss", 6, frames=5)], CARD))
    assert reader.titles() == [
        "summary", "guarantee", "gallery", "scores", "classes", "decisions", "thresholds", "plane", "counts",
        "data", "model",
    ]  # fmt: skip
    assert reader.tags.count("img") == 5


@pytest.mark.parametrize(
    ("evaluation", "blocks"),
    [
        (
            lambda: image_evaluation(items=images(normal=0, anomalies={}, unlabeled=30), pixel=None),
            ["summary", "guarantee", "scores", "highest", "missing", "data", "model"][1:],
        ),
        (
            lambda: video_evaluation(street(labeled=False, fps=None), calibration=None),
            ["timeline", "scores", "videos", "missing", "data", "model"],
        ),
        (
            lambda: clip_evaluation(is_calibrated=False, labeled=False, classes=False, split=False),
            ["scores", "highest", "missing", "data", "model"],
        ),
    ],
)
def test_what_does_not_apply_is_left_out(evaluation, blocks):
    assert read(render_evaluation(evaluation(), [], {})).titles() == blocks


def test_videos_without_a_single_score_have_a_page():
    silent = video(np.random.default_rng(0), "01", 50, ((10, 20),), gone=50)
    reader = read(render_evaluation(video_evaluation([silent]), [], {}))
    assert "50 not scored: too early" in reader.words and "scores" not in reader.titles()


@pytest.mark.parametrize("name", TRICKY)
def test_any_name_of_images_is_text(name):
    items = images(anomalies={name: 10})
    evaluation = image_evaluation(items=items, name=name, skipped=1, warnings={items[45].name: (name,)})
    html = render_evaluation(evaluation, [shown_unit(evaluation, "miss", 45)], {"detector": {"name": name}})
    assert read(html.encode().decode()).row(one_line(name))[1] == "10"


@pytest.mark.parametrize("name", TRICKY)
def test_any_name_of_videos_is_text(name):
    items = [video(np.random.default_rng(0), name, 200, ((50, 90),), gone=2)]
    evaluation = video_evaluation(items, warnings={name: (name,)})
    html = render_evaluation(evaluation, [shown_unit(evaluation, "peak", 60)], CARD)
    assert read(html.encode().decode()).row(one_line(name))[2] == "200"


def test_many_long_videos_stay_below_five_megabytes():
    rng = np.random.default_rng(0)
    evaluation = video_evaluation([video(rng, f"{i:03}", 3000, ((500, 700),), lift=1.0) for i in range(40)])
    noise = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    units = [
        type(unit)(role=role, row=3000 * i, frames=(noise,), map=noise[..., 0].astype(np.float32))
        for role in ("false_alarm", "miss", "peak")
        for i in range(20)
        for unit in [shown_unit(evaluation, role, 0)]
    ]
    html = render_evaluation(evaluation, units, CARD)
    assert len(html.encode()) < 5_000_000
    reader = read(html)
    assert "28 other videos" in reader.words and reader.tags.count("details") == 1


def test_importing_is_cheap(tmp_path):
    code = (
        "import sys, offnormal.report.page, offnormal.report.summary, offnormal.report.compare\n"
        "heavy = {'torch', 'matplotlib', 'jinja2', 'sklearn', 'scipy.stats'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
