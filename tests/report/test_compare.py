from __future__ import annotations

from offnormal.drawing.wording import NONE
from offnormal.evaluation.compare import compare_runs
from offnormal.report.compare import LANE_LIMIT, render_comparison
from tests.evaluations import clip_run, image_run, video_run
from tests.html_reader import read


def test_the_page_of_videos_has_tables_curves_and_lanes(tmp_path):
    folders = [video_run(tmp_path / "a <b>", motion=True), video_run(tmp_path / "b", seed=1, power=4.0, motion=False)]
    comparison = compare_runs(folders, combine=True)
    html = render_comparison(comparison)
    reader = read(html)
    assert reader.titles() == ["runs", "figures", "roc", "breakdown", "time", "options"]
    for row in comparison.rows:
        assert f"{row.metrics['frame_AUC_micro']:.4f}" in reader.words
    assert "a <b>" in reader.words and "480 frames scored, 0 excluded" in reader.words
    assert html.count('class="lane"') == 8 * 3 and html.count('class="key"') == 2 * 3
    assert html.count('class="level"') == 8 * 2, "combined has no threshold"
    assert reader.row("00.mp4 60 frames, 30 anomalous")[1] == f"{comparison.rows[0].breakdown['00.mp4']:.4f}"
    assert reader.row("motion")[1:] == ["True", "False"]
    assert "Scores scaled to 0-1 within each video" in reader.words


def test_the_lead_claims_only_what_is_beyond_noise(tmp_path):
    first, better = video_run(tmp_path / "a", power=1.0), video_run(tmp_path / "b", seed=1, power=4.0)
    assert "B has the best frame_AUC_micro" in read(render_comparison(compare_runs([first, better]))).words
    same = video_run(tmp_path / "c", seed=5, power=1.0)
    assert "but the lead may be noise" in read(render_comparison(compare_runs([first, same]))).words


def test_the_page_of_images_has_strips(tmp_path):
    comparison = compare_runs([image_run(tmp_path / "a"), image_run(tmp_path / "b", seed=1)])
    html = render_comparison(comparison)
    reader = read(html)
    assert reader.titles() == ["runs", "figures", "roc", "breakdown", "scores"]
    assert html.count('class="strip"') == 4 and 'class="lane"' not in html
    assert reader.row("crack")[1] == f"{comparison.rows[0].breakdown['crack']:.4f}"
    assert reader.row("A a")[1:4] == [f"{value:.4f}" for value in comparison.rows[0].metrics.values()]


def test_the_page_of_clips_has_accuracies(tmp_path):
    reader = read(render_comparison(compare_runs([clip_run(tmp_path / "a"), clip_run(tmp_path / "b")])))
    assert reader.titles() == ["runs", "figures", "roc", "breakdown", "scores"]
    assert "66.7 % 2 of 3" in reader.words and "50.0 % 1 of 2" in reader.words
    assert "AUC of each anomalous class" in reader.words and reader.row("lift")[1] == "0.8333"


def test_a_page_without_labels_or_detectors_still_shows_what_there_is(tmp_path):
    folders = [video_run(tmp_path / name, labeled=False, seed=i) for i, name in enumerate("ab")]
    for folder in folders:
        (folder / "bundle" / "config.yaml").unlink()
    reader = read(render_comparison(compare_runs(folders)))
    assert "No metric to compare by" in reader.words and "alarms per hour" in reader.words
    assert reader.row("A")[3] == NONE and "ROC" not in reader.words


def test_many_videos_are_cut_and_it_is_said(tmp_path):
    folders = [video_run(tmp_path / name, videos=LANE_LIMIT + 2, frames=4, seed=i) for i, name in enumerate("ab")]
    html = render_comparison(compare_runs(folders))
    assert html.count('class="lane"') == 2 * LANE_LIMIT and "and 2 more videos" in read(html).words
