import csv
import json
import os
import resource
from contextlib import nullcontext
from dataclasses import replace

import pytest

from offnormal.errors import OffnormalError
from offnormal.sinks import appended_file
from offnormal.sinks.appended_file import COLUMNS, AppendedFileOptions, CsvSink, JsonlSink
from offnormal.sinks.base import DeliveryError
from offnormal.testing.events import message


def sink(path):
    return JsonlSink(AppendedFileOptions(path=path))


def ids(path):
    return [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_message_is_one_line_in_order(tmp_path):
    path = tmp_path / "new/e ä.jsonl"
    jsonl = sink(path)
    for number in range(3):
        jsonl.deliver(message(number, detail="größer\nals"))
    assert ids(path) == [message(number).id for number in range(3)]
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0])["event"]["detail"] == "größer\nals"


def test_a_message_that_is_sent_again_after_a_restart_is_written_once(tmp_path):
    path = tmp_path / "e.jsonl"
    for number in range(3):
        sink(path).deliver(message(number))
    restarted = sink(path)
    restarted.deliver(message(2))
    restarted.deliver(message(2))
    restarted.deliver(message(3))
    assert ids(path) == [message(number).id for number in range(4)]


def test_a_partial_line_is_removed(tmp_path):
    path = tmp_path / "e.jsonl"
    sink(path).deliver(message(0))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"id": "20')
    sink(path).deliver(message(1))
    assert ids(path) == [message(0).id, message(1).id]
    path.write_bytes(b'{"id": "half')
    sink(path).deliver(message(1))
    assert ids(path) == [message(1).id]


def test_a_full_disk_leaves_no_partial_line(tmp_path, monkeypatch):
    path = tmp_path / "e.jsonl"
    jsonl = sink(path)
    jsonl.deliver(message(0))
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OffnormalError, match="disk is full"):
        patch.setattr(appended_file.os, "fsync", full)
        jsonl.deliver(message(1))
    assert path.read_bytes() == before
    jsonl.deliver(message(1))
    assert ids(path) == [message(0).id, message(1).id]


def test_foreign_lines_are_not_changed(tmp_path):
    path = tmp_path / "e.jsonl"
    path.write_text("not json\n[1]\n{}\n")
    sink(path).deliver(message(0))
    assert path.read_text().startswith("not json\n[1]\n{}\n{")


@pytest.mark.parametrize(
    ("sink_class", "content", "is_refused"),
    [
        (CsvSink, b"42", True),
        (CsvSink, b"2026,3", True),
        (CsvSink, b"id,transition,camera,kind,start,end and more", True),
        (JsonlSink, b'{"a": [1, 2', False),
        (JsonlSink, b'{"id": "' + b"x" * (1 << 20), False),
    ],
)
def test_an_unfinished_line_of_others_is_not_removed(tmp_path, sink_class, content, is_refused):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DeliveryError) if is_refused else nullcontext():
        sink_class(AppendedFileOptions(path=path)).deliver(message(0))
    assert path.read_bytes().startswith(content)


def test_a_source_that_is_not_unicode_is_written(tmp_path):
    path = tmp_path / "e.jsonl"
    usual = message(0)
    sink(path).deliver(replace(usual, event=replace(usual.event, camera="gate\udcff")))
    assert json.loads(path.read_text())["event"]["camera"] == "gate\udcff"


@pytest.fixture
def limit():
    """Limits the size of files in bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def json_ids(text):
    return [json.loads(line)["event"]["id"] for line in text.splitlines()]


def csv_ids(text):
    return [line.split(",")[0] for line in text.splitlines()[1:]]


@pytest.mark.parametrize(
    ("sink_class", "options", "ids"),
    [(JsonlSink, AppendedFileOptions, json_ids), (CsvSink, AppendedFileOptions, csv_ids)],
)
def test_a_message_that_a_full_disk_rejected_is_written_completely_later(tmp_path, limit, sink_class, options, ids):
    path = tmp_path / "events"
    sink = sink_class(options(path=path))
    sink.deliver(message(0))
    whole = path.read_bytes()
    limit(len(whole) + 20)
    for _ in range(2):
        with pytest.raises(OSError, match="File too large"):
            sink.deliver(message(1))
        assert path.read_bytes() == whole
    limit(1 << 20)
    sink.deliver(message(1))
    sink.deliver(message(2))
    assert ids(path.read_text()) == [message(number).event.id for number in range(3)]


def csv_sink(path):
    return CsvSink(AppendedFileOptions(path=path))


def csv_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_message_is_one_row_under_one_header(tmp_path):
    path = tmp_path / "e.csv"
    for number in range(3):
        csv_sink(path).deliver(message(number, detail='a "b", c\nd', problems=("x", "y")))
    rows = csv_rows(path)
    assert [row["id"] for row in rows] == [message(number).event.id for number in range(3)]
    assert tuple(rows[0]) == COLUMNS
    assert (rows[0]["detail"], rows[0]["problems"], rows[0]["duration_s"]) == ('a "b", c d', "x; y", "12.5")


def test_a_header_that_was_cut_off_is_written_again(tmp_path):
    path = tmp_path / "e.csv"
    path.write_bytes(b"id,transi")
    for number in range(2):
        csv_sink(path).deliver(message(number))
    assert [row["id"] for row in csv_rows(path)] == [message(number).event.id for number in range(2)]


def test_a_row_is_written_once_and_a_partial_one_is_removed(tmp_path):
    path = tmp_path / "e.csv"
    csv_sink(path).deliver(message(0))
    csv_sink(path).deliver(message(0))
    with path.open("ab") as file:
        file.write(b"2026,half")
    csv_sink(path).deliver(message(1))
    assert [row["id"] for row in csv_rows(path)] == [message(0).event.id, message(1).event.id]


def test_text_cannot_become_a_formula(tmp_path):
    path = tmp_path / "e.csv"
    csv_sink(path).deliver(message(0, camera="=cmd|' /C calc'!A0", peak_score=-1.5))
    (row,) = csv_rows(path)
    assert row["camera"].startswith("'=") and row["peak_score"] == "-1.5"


def test_a_file_with_other_columns_is_not_changed(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DeliveryError, match=r"e\.csv has other columns"):
        csv_sink(path).deliver(message(0))
    assert path.read_text() == "a,b\n1,2\n"


def test_a_pipe_gets_the_header_once_and_is_not_replaced(tmp_path):
    path, texts = tmp_path / "pipe", []
    os.mkfifo(path)
    with pytest.raises(OffnormalError, match="cannot be written"):
        csv_sink(path).deliver(message(0))  # nobody reads
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    csv_pipe = csv_sink(path)
    for number in range(2):
        csv_pipe.deliver(message(number))
        texts.append(os.read(reader, 1 << 20).decode())
    os.close(reader)
    rows = list(csv.DictReader("".join(texts).splitlines()))
    assert [row["id"] for row in rows] == [message(number).event.id for number in range(2)]
    assert path.is_fifo()


def test_a_line_of_others_without_its_end_is_kept(tmp_path):
    path = tmp_path / "e.jsonl"
    path.write_text('{"mine": 1}')
    sink(path).deliver(message(0))
    lines = path.read_text().splitlines()
    assert lines[0] == '{"mine": 1}' and json.loads(lines[1])["id"] == message(0).id


def test_a_file_that_is_no_text_is_not_changed(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(DeliveryError, match="is not a text file"):
        sink(path).deliver(message(0))
    assert path.stat().st_size == 108
