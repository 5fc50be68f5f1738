from __future__ import annotations

import doctest
from types import SimpleNamespace

from offnormal.drawing.wording import NONE
from offnormal.evaluation.compare import compare_runs
from offnormal.report import compare_table as module
from offnormal.report.compare_table import counts, detector, explanations, groups, markdown
from tests.evaluations import image_run, video_run


def column(comparison, title):
    return next(single for group in groups(comparison) for single in group.columns if single.name == title)


def test_doctests():
    assert doctest.testmod(module).failed == 0


def test_runs_are_told_apart_by_options_that_they_have():
    differing = {option: {} for option in ("embedder", "backbone", "unfreeze", "views")}

    def named(name, **options):
        return detector(SimpleNamespace(run=SimpleNamespace(detector=name, options=options)), differing)

    assert named("pixel_gaussian") == "pixel_gaussian"
    assert named("padim", backbone="resnet18") == "padim, resnet18"
    assert named("embedding_ae", embedder="slowfast_r50", views="4") == "embedding_ae, slowfast_r50, frozen, 4 views"
    assert named("embedding_ae", embedder="r2plus1d_18", unfreeze="layer4.1") == (
        "embedding_ae, r2plus1d_18, layer4.1 unfrozen"
    )


def test_cells_say_what_is_best_and_what_is_noise(tmp_path):
    folders = [video_run(tmp_path / "a", power=1.0), video_run(tmp_path / "b", power=1.0, seed=1)]
    comparison = compare_runs([*folders, video_run(tmp_path / "c", power=4.0, seed=2)])
    cells = column(comparison, "frame_AUC_micro").cells
    assert cells[0].text == f"{comparison.rows[0].metrics['frame_AUC_micro']:.4f}" and cells[0].below == ""
    assert [cell.mark == "~" for cell in cells] == [False, True, False]
    assert [cell.is_best for cell in cells] == [False, False, True]
    assert " to +" in cells[2].below
    assert column(comparison, "frame_AUC_micro_per_video_norm").title == "frame_AUC_micro"


def test_thresholds_are_each_run_s_own_and_combined_has_none(tmp_path):
    comparison = compare_runs([video_run(tmp_path / "a"), video_run(tmp_path / "b", seed=1)], combine=True)
    alarms = comparison.rows[0].alarms
    assert column(comparison, "spans detected").cells[0].text == f"{alarms.detected} of 8"
    assert column(comparison, "false alarms per hour").cells[0].text == f"{alarms.false_alarms_per_hour:.1f}"
    assert column(comparison, "threshold").cells[2].text == NONE
    assert any("-log p-values" in line for line in explanations(comparison))


def test_a_cost_is_best_only_where_timings_would_not_drift_as_far(tmp_path):
    folders = [video_run(tmp_path / f"{cost}", seconds_per_frame=cost, seed=i) for i, cost in enumerate((0.01, 0.0105))]
    assert not any(cell.is_best for cell in column(compare_runs(folders), "ms per frame").cells)
    slow = video_run(tmp_path / "slow", seconds_per_frame=0.02)
    cells = column(compare_runs([folders[0], slow]), "ms per frame").cells
    assert [(cell.text, cell.is_best) for cell in cells] == [("10.0", True), ("20.0", False)]


def test_pixel_metrics_say_that_they_were_not_computed_again(tmp_path):
    comparison = compare_runs([image_run(tmp_path / "a"), image_run(tmp_path / "b", seed=1)])
    (pixel,) = [group for group in groups(comparison) if group.title == "Pixel metrics"]
    assert "not computed again" in pixel.note and pixel.columns[0].cells[0].text == "0.9712"


def test_few_videos_are_called_rough(tmp_path):
    comparison = compare_runs([video_run(tmp_path / "a", videos=4), video_run(tmp_path / "b", videos=4, seed=1)])
    assert any("rough" in line for line in explanations(comparison))
    single = compare_runs([video_run(tmp_path / "c", videos=1), video_run(tmp_path / "d", videos=1, seed=1)])
    assert any("another video" in line for line in explanations(single))


def test_markdown_is_a_table_whatever_the_names_are(tmp_path):
    folders = [video_run(tmp_path / "a | b", unscored=2), video_run(tmp_path / "c", seed=1)]
    comparison = compare_runs(folders, combine=True)
    text = markdown(comparison)
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 5  # runs, metrics, thresholds, cost, per video
    for block in blocks:
        assert len({line.replace("\\|", "").count("|") for line in block}) == 1
    assert "a \\| b" in text and counts(comparison, comparison.rows[1]) in text
    assert counts(comparison, comparison.rows[0]) == "464 frames scored, 0 excluded, 16 not scored"
