import csv
import math

import numpy as np
import pytest

from offnormal.errors import DataError
from offnormal.evaluation.scores_csv import COLUMNS, read_table, score_writer, write_table
from offnormal.types import Unit
from tests.evaluations import Scored, table_of

HEAD = ",".join(COLUMNS) + ",terms.psnr\n"
ROWS = (
    "a,0,0.000,normal,,,,1.5,0.5,normal,,9\n",
    "a,1,0.040,anomalous,,,,2.5,0.01,anomalous,,9\n",
    "b,0,,,,,,,,,too short,\n",
)


def write(tmp_path, text):
    file = tmp_path / "scores.csv"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    return file


def street():
    return table_of(
        Unit.FRAME,
        [
            Scored(name="a", scores=np.array([1.5, np.nan, 2.5]), labels=np.array([0, 0, 1]), fps=10, group="north"),
            Scored(name="b", scores=np.array([0.125]), reasons=((0, 1, "held"),)),
        ],
    )


def test_a_written_table_is_read_back(tmp_path):
    table = street()
    write_table(table, tmp_path / "scores.csv")
    stored = read_table(tmp_path / "scores.csv", Unit.FRAME)
    assert [(item.name, item.rows, item.group) for item in stored.items] == [
        ("a", slice(0, 3), "north"),
        ("b", slice(3, 4), ""),
    ]
    for name in ("frame", "time_s", "label", "score", "p_value", "verdict"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(table, name), err_msg=name)
    assert stored.reason == ((3, 4, "held"),)


@pytest.mark.parametrize("score", [np.float32(0.1), np.float32(1 / 3), np.float32(123456.79), np.float32(1e-20)])
def test_scores_are_written_exactly(tmp_path, score):
    write_table(table_of(Unit.CLIP, [Scored(name="a", scores=np.array([score]))]), tmp_path / "scores.csv")
    assert np.float32(read_table(tmp_path / "scores.csv", Unit.CLIP).score[0]) == score


def test_terms_are_additional_columns(tmp_path):
    table = table_of(Unit.IMAGE, [Scored(name="a", scores=np.array([1.0]))], terms={"latent": np.array([math.nan])})
    write_table(table, tmp_path / "scores.csv")
    (row,) = csv.DictReader((tmp_path / "scores.csv").open())
    assert list(row) == [*COLUMNS, "terms.latent"] and row["terms.latent"] == "" and row["frame"] == ""


def test_a_table_without_items_has_a_header(tmp_path):
    with score_writer(tmp_path / "scores.csv"):
        pass
    assert (tmp_path / "scores.csv").read_text().strip() == ",".join(COLUMNS)


def test_rows_become_columns_and_empty_cells_nan(tmp_path):
    table = read_table(write(tmp_path, "\ufeff" + HEAD + "".join(ROWS) + "\n"), Unit.FRAME)
    assert [(item.name, item.rows) for item in table.items] == [("a", slice(0, 2)), ("b", slice(2, 3))]
    np.testing.assert_array_equal(table.score, [1.5, 2.5, np.nan])
    np.testing.assert_array_equal(table.label, [0, 1, np.nan])
    np.testing.assert_array_equal(table.verdict, [0, 1, np.nan])
    np.testing.assert_array_equal(table.p_value, [0.5, 0.01, np.nan])
    np.testing.assert_array_equal(table.time_s, [0, 0.04, np.nan])
    assert table.reason == ((2, 3, "too short"),)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "columns item"),
        (HEAD.replace(",", ";") + ROWS[0], 1, "separated by commas"),
        (HEAD + "a,0,0.0\n", 2, "3 cells, expected 12"),
        (HEAD + ROWS[0] + ROWS[0], 3, "a, frame 0: duplicate or out of order"),
        (HEAD + ROWS[0] + ROWS[2] + ROWS[1], 4, "item a is in several blocks, the first in line 2"),
        (HEAD + ROWS[0] + ROWS[1].replace("2.5", "2,5"), 3, "13 cells"),
        (HEAD + ROWS[0].replace("1.5", "high"), 2, "score 'high'"),
        (HEAD + ROWS[0].replace("1.5", "inf"), 2, "score 'inf'"),
        (HEAD + ROWS[0].replace("a,0,", "a,-1,"), 2, "frame '-1'"),
        (HEAD + ROWS[0].replace("a,0,", "a,1.0,"), 2, "frame '1.0'"),
        (HEAD + ROWS[0].replace("0.000,normal", "0.000,2"), 2, "label '2'"),
        (HEAD + ROWS[0].replace("0.5,normal", "0.5,yes"), 2, "verdict 'yes'"),
        (HEAD + ROWS[0].replace(",0.5,", ",0,"), 2, "p_value '0'"),
        (HEAD + ROWS[0].replace(",0.5,", ",1.5,"), 2, "p_value '1.5'"),
        (HEAD + ROWS[0] + '"a,1,0', 3, "not CSV"),
        (HEAD + ROWS[0] + "a\udcff,1" + ROWS[1][3:], 3, "UTF-8"),
    ],
)
def test_errors_name_the_file_and_the_line(tmp_path, text, line, message):
    file = write(tmp_path, text)
    with pytest.raises(DataError) as raised:
        read_table(file, Unit.FRAME)
    assert f"{file}, line {line}: " in str(raised.value) and message in str(raised.value)


def test_a_file_without_rows_is_refused(tmp_path):
    with pytest.raises(DataError, match="no rows"):
        read_table(write(tmp_path, HEAD), Unit.FRAME)


def test_only_scored_and_labeled_rows_of_the_test_set_count():
    table = table_of(
        Unit.CLIP,
        [
            Scored(name="a", scores=np.array([1.0]), labels=np.array([0]), split="train"),
            Scored(name="b", scores=np.array([2.0]), labels=np.array([0]), split="test"),
            Scored(name="c", scores=np.array([3.0]), split="test"),
            Scored(name="d", scores=np.array([np.nan]), labels=np.array([1]), split="anomalous"),
        ],
    )
    assert table.labeled.tolist() == [False, True, False, False]
    assert table.item_column(lambda item: item.split) == ["train", "test", "test", "anomalous"]


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=1", "''-x", "it's", "'quoted'", "a=b", "'", "-"]


@pytest.mark.parametrize("text", FORMULAS)
def test_text_cannot_become_a_formula_and_is_read_back_exactly(tmp_path, text):
    columns = {"name": text, "group": text, "class_name": text, "split": text}
    scored = Scored(**columns, scores=np.array([-1.5]), reasons=((0, 1, text),))
    write_table(table_of(Unit.CLIP, [scored]), tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    for cell in (row[name] for name in ("item", "group", "class", "split", "reason")):
        assert cell[:1] not in "=+-@\t\r"
    assert row["score"] == "-1.5", "a number stays one"
    stored = read_table(tmp_path / "scores.csv", Unit.CLIP)
    assert {name: getattr(stored.items[0], name) for name in columns} == columns
    assert stored.reason == ((0, 1, text),)
