from __future__ import annotations

import numpy as np
import pytest
from offnormal.evaluated.score_table import read_scores

from offnormal.errors import DataError

HEAD = "video,frame,time_s,label,score,p_value,anomalous,not_scored,psnr\n"
ROWS = ("a,0,0.000,0,1.5,0.5,0,,9\n", "a,1,0.040,1,2.5,0.01,1,,9\n", "b,0,,,,,,too short,\n")


def write(tmp_path, text):
    file = tmp_path / "scores.csv"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    return file


def test_rows_become_columns_and_empty_cells_nan(tmp_path):
    table = read_scores(write(tmp_path, "\ufeff" + HEAD + "".join(ROWS) + "\n"), "videos")
    assert table.keys == [("a", 0), ("a", 1), ("b", 0)] and table.lines == [2, 3, 4]
    np.testing.assert_array_equal(table.scores, [1.5, 2.5, np.nan])
    np.testing.assert_array_equal(table.labels, [0, 1, np.nan])
    np.testing.assert_array_equal(table.p_values, [0.5, 0.01, np.nan])
    np.testing.assert_array_equal(table.times_s, [0, 0.04, np.nan])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "no column video"),
        (HEAD.replace(",", ";") + ROWS[0], 1, "parted by commas"),
        (HEAD + "a,0,0.0\n", 2, "3 cells, expected 9"),
        (HEAD + ROWS[0] + ROWS[0], 3, "twice, first in line 2"),
        (HEAD + ROWS[0] + ROWS[1].replace("2.5", "2,5"), 3, "10 cells"),
        (HEAD + ROWS[0].replace("1.5", "high"), 2, "score 'high'"),
        (HEAD + ROWS[0].replace("1.5", "inf"), 2, "score 'inf'"),
        (HEAD + ROWS[0].replace("a,0,", "a,-1,"), 2, "frame '-1'"),
        (HEAD + ROWS[0].replace("a,0,", "a,1.0,"), 2, "frame '1.0'"),
        (HEAD + ROWS[0].replace(",0,1.5", ",2,1.5"), 2, "label '2'"),
        (HEAD + ROWS[0].replace(",0.5,", ",0,"), 2, "p_value '0'"),
        (HEAD + ROWS[0].replace(",0.5,", ",1.5,"), 2, "p_value '1.5'"),
        (HEAD + ROWS[0].replace("0.000", "9.000") + ROWS[1], 3, "before frame 0"),
        (HEAD + ROWS[0] + '"a,1,0', 3, "not CSV"),
        (HEAD + ROWS[0] + "a\udcff,1" + ROWS[1][3:], 3, "UTF-8"),
    ],
)
def test_damage_is_named_with_file_and_line(tmp_path, text, line, said):
    file = write(tmp_path, text)
    with pytest.raises(DataError) as raised:
        read_scores(file, "videos")
    assert f"{file}, line {line}: " in str(raised.value) and said in str(raised.value)


def test_a_table_without_rows_is_refused(tmp_path):
    with pytest.raises(DataError, match="no rows"):
        read_scores(write(tmp_path, HEAD), "videos")


def test_pictures_have_columns_of_their_own(tmp_path):
    file = write(tmp_path, 'path,label,defect,group,score,p_value,anomalous\n"a,1.png",1,cut,lot 1,3.25,0.25,1\n')
    table = read_scores(file, "images")
    assert table.keys == [("a,1.png", 0)] and table.defects == ["cut"] and table.groups == ["lot 1"]
    with pytest.raises(DataError, match="no column video"):
        read_scores(file, "videos")
