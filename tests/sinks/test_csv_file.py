import csv

import pytest

from offnormal.sinks.base import DeliveryError
from offnormal.sinks.csv_file import COLUMNS, CsvOptions, CsvSink
from offnormal.testing.events import message


def sink(path):
    return CsvSink(CsvOptions(path=path))


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_each_under_one_header(tmp_path):
    path = tmp_path / "e.csv"
    for number in range(3):
        sink(path).deliver(message(number, detail='a "b", c\nd', problems=("x", "y")))
    found = rows(path)
    assert [row["id"] for row in found] == [message(number).event.id for number in range(3)]
    assert tuple(found[0]) == COLUMNS
    assert (found[0]["detail"], found[0]["problems"], found[0]["duration_s"]) == ('a "b", c d', "x; y", "12.5")


def test_a_row_is_written_once_and_a_torn_one_goes(tmp_path):
    path = tmp_path / "e.csv"
    sink(path).deliver(message(0))
    sink(path).deliver(message(0))
    with path.open("ab") as file:
        file.write(b"2026,half")
    sink(path).deliver(message(1))
    assert [row["id"] for row in rows(path)] == [message(0).event.id, message(1).event.id]


def test_text_is_no_formula(tmp_path):
    path = tmp_path / "e.csv"
    sink(path).deliver(message(0, camera="=cmd|' /C calc'!A0", peak_score=-1.5))
    (row,) = rows(path)
    assert row["camera"].startswith("'=") and row["peak_score"] == "-1.5"


def test_a_table_of_other_columns_is_left_alone(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DeliveryError, match=r"e\.csv has other columns"):
        sink(path).deliver(message(0))
    assert path.read_text() == "a,b\n1,2\n"
