import numpy as np
import pytest

from offnormal.errors import DataError
from offnormal.evaluation.scores_csv import read_table
from offnormal.evaluation.shared_rows import BLOCKS, common_tables, drawn_units
from offnormal.types import Unit
from tests.evaluations import image_run, video_run


def tables(unit, *folders):
    return [read_table(folder / "scores.csv", unit) for folder in folders]


def test_only_rows_that_every_run_scored_count(tmp_path):
    first = video_run(tmp_path / "a", videos=2, frames=10, unscored=3)
    second = video_run(tmp_path / "b", videos=2, frames=10, seed=1)
    lines = (second / "scores.csv").read_text().splitlines(keepends=True)
    (second / "scores.csv").write_text("".join([lines[0], *lines[-12:]]))  # the last two frames of 00 and all of 01
    first_table, second_table = common_tables(tables(Unit.FRAME, first, second), ["a", "b"])
    for table in (first_table, second_table):
        assert [(item.name, item.rows) for item in table.items] == [("00.mp4", slice(0, 2)), ("01.mp4", slice(2, 12))]
        assert table.frame.tolist() == [8, 9, *range(10)]
        assert int(table.scored.sum()) == 9 and not table.scored[2:5].any()
    series = first_table.series()
    assert series[0].name == "00.mp4" and series[1].labels[5:].all()
    np.testing.assert_allclose(series[1].times_s, np.arange(10) / 10)


def test_runs_without_common_rows_or_with_different_labels_are_refused(tmp_path):
    first, second = video_run(tmp_path / "a", videos=1, frames=10), video_run(tmp_path / "b", videos=1, frames=10)
    text = (second / "scores.csv").read_text()
    (second / "scores.csv").write_text(text.replace("00.mp4,7,0.700,anomalous", "00.mp4,7,0.700,normal"))
    with pytest.raises(DataError, match=r"b: the label of frame 7 of 00\.mp4 is different from a"):
        common_tables(tables(Unit.FRAME, first, second), ["a", "b"])
    (second / "scores.csv").write_text(text.replace("00.mp4", "01.mp4"))
    with pytest.raises(DataError, match="no frame with a score in every run"):
        common_tables(tables(Unit.FRAME, first, second), ["a", "b"])


def test_videos_groups_images_or_stretches_of_one_video_are_drawn(tmp_path):
    def drawn(unit, folder):
        return drawn_units(tables(unit, folder)[0])

    units = drawn(Unit.FRAME, video_run(tmp_path / "v", videos=3, frames=10))
    assert (units.noun, units.count) == ("videos", 3)
    assert units.number.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert [rows.tolist() for rows in units.rows()] == [list(range(start, start + 10)) for start in (0, 10, 20)]
    units = drawn(Unit.FRAME, video_run(tmp_path / "one", videos=1, frames=60))
    assert "stretches" in units.noun and units.count == BLOCKS and (np.bincount(units.number) == 3).all()
    units = drawn(Unit.IMAGE, image_run(tmp_path / "i"))
    assert (units.noun, units.count) == ("images", 61)
    units = drawn(Unit.IMAGE, image_run(tmp_path / "g", groups=7))
    assert (units.noun, units.count) == ("groups", 7)
    units = drawn(Unit.FRAME, video_run(tmp_path / "bare", labeled=False))
    assert units.count == 0 and (units.number == -1).all()
