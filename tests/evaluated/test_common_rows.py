from __future__ import annotations

import numpy as np
import pytest
from offnormal.evaluated.common_rows import BLOCKS, common_rows
from offnormal.evaluated.score_table import read_scores

from offnormal.errors import DataError
from tests.evaluations import image_run, video_run


def tables(kind, *folders):
    return [read_scores(folder / "scores.csv", kind) for folder in folders]


def test_only_what_every_run_scored_counts(tmp_path):
    first = video_run(tmp_path / "a", videos=2, frames=10, unscored=3)
    second = video_run(tmp_path / "b", videos=2, frames=10, seed=1)
    lines = (second / "scores.csv").read_text().splitlines(keepends=True)
    (second / "scores.csv").write_text("".join([lines[0], *lines[:0:-1][:12]]))  # the last 12 rows, backwards
    own = tables("videos", first, second)
    common = common_rows(own, "videos")
    assert common.keys == [*(("00.mp4", frame) for frame in (8, 9)), *(("01.mp4", frame) for frame in range(10))]
    assert common.count == 9 and not common.scored[2:5].any()
    for table, rows in zip(own, common.rows, strict=True):
        assert [table.keys[row] for row in rows] == common.keys
    one, two = common.series(own[0].scores[common.rows[0]])
    assert one.name == "00.mp4" and np.isnan(two.scores[:3]).all() and two.labels[5:].all()
    np.testing.assert_allclose(two.times_s, np.arange(10) / 10)


def test_pictures_are_matched_wherever_their_folder_lies(tmp_path):
    own = tables("images", image_run(tmp_path / "a", root="/data"), image_run(tmp_path / "b", root="C/other data"))
    common = common_rows(own, "images")
    assert common.count == 61
    for place, row in enumerate(common.rows[1]):
        assert own[1].keys[row][0].replace("C/other data", "/data") == own[0].keys[common.rows[0][place]][0]


def test_runs_that_share_nothing_or_differ_in_a_label_are_refused(tmp_path):
    first, second = video_run(tmp_path / "a", videos=1, frames=10), video_run(tmp_path / "b", videos=1, frames=10)
    text = (second / "scores.csv").read_text()
    (second / "scores.csv").write_text(text.replace("00.mp4,7,0.700,1", "00.mp4,7,0.700,0"))
    with pytest.raises(DataError, match=r"b.scores\.csv, line 9: another label than in .*a.scores\.csv, line 9"):
        common_rows(tables("videos", first, second), "videos")
    (second / "scores.csv").write_text(text.replace("00.mp4", "01.mp4"))
    with pytest.raises(DataError, match="no video was scored by every run"):
        common_rows(tables("videos", first, second), "videos")


def test_units_are_videos_groups_pictures_or_stretches_of_one_video(tmp_path):
    def units(kind, folder):
        return common_rows(tables(kind, folder), kind).units()

    number, what, count = units("videos", video_run(tmp_path / "v", videos=3, frames=10))
    assert (what, count) == ("videos", 3) and number.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    number, what, count = units("videos", video_run(tmp_path / "one", videos=1, frames=60))
    assert "stretches" in what and count == BLOCKS and (np.bincount(number) == 3).all()
    assert units("images", image_run(tmp_path / "i"))[1:] == ("pictures", 61)
    assert units("images", image_run(tmp_path / "g", groups=7))[1:] == ("groups", 7)
    number, _, count = units("videos", video_run(tmp_path / "bare", labelled=False))
    assert count == 0 and (number == -1).all()
