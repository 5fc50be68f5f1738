import json

import pytest

from offnormal.errors import OffnormalError
from offnormal.sinks import jsonl
from offnormal.sinks.jsonl import JsonlOptions, JsonlSink
from tests.sinks.events import message


def sink(path):
    return JsonlSink(JsonlOptions(path=path))


def ids(path):
    return [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_each_in_order(tmp_path):
    path = tmp_path / "new/e ä.jsonl"
    one = sink(path)
    for number in range(3):
        one.deliver(message(number, detail="größer\nals"))
    assert ids(path) == [message(number).id for number in range(3)]
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0])["event"]["detail"] == "größer\nals"


def test_a_message_that_comes_again_after_a_restart_is_not_written_again(tmp_path):
    path = tmp_path / "e.jsonl"
    for number in range(3):
        sink(path).deliver(message(number))
    again = sink(path)
    again.deliver(message(2))
    again.deliver(message(2))
    again.deliver(message(3))
    assert ids(path) == [message(number).id for number in range(4)]


def test_a_half_written_line_goes(tmp_path):
    path = tmp_path / "e.jsonl"
    sink(path).deliver(message(0))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"id": "20')
    sink(path).deliver(message(1))
    assert ids(path) == [message(0).id, message(1).id]
    path.write_bytes(b'{"half')
    sink(path).deliver(message(1))
    assert ids(path) == [message(1).id]


def test_a_full_disk_leaves_no_half_line_behind(tmp_path, monkeypatch):
    path = tmp_path / "e.jsonl"
    one = sink(path)
    one.deliver(message(0))
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OffnormalError, match="disk is full"):
        patch.setattr(jsonl.os, "fsync", full)
        one.deliver(message(1))
    assert path.read_bytes() == before
    one.deliver(message(1))
    assert ids(path) == [message(0).id, message(1).id]


def test_lines_of_others_are_left_alone(tmp_path):
    path = tmp_path / "e.jsonl"
    path.write_text("not json\n[1]\n{}\n")
    sink(path).deliver(message(0))
    assert path.read_text().startswith("not json\n[1]\n{}\n{")
