"""What is appended to a table or a file of lines on a disk that really refuses to take all of it."""

import json
import resource

import pytest

from offnormal.sinks.csv_file import CsvOptions, CsvSink
from offnormal.sinks.jsonl import JsonlOptions, JsonlSink
from tests.sinks.events import message


@pytest.fixture
def limit():
    """Sets how many bytes a file may have."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def json_ids(text):
    return [json.loads(line)["event"]["id"] for line in text.splitlines()]


def csv_ids(text):
    return [line.split(",")[0] for line in text.splitlines()[1:]]


@pytest.mark.parametrize(
    ("made", "options", "ids"), [(JsonlSink, JsonlOptions, json_ids), (CsvSink, CsvOptions, csv_ids)]
)
def test_what_a_full_disk_refused_comes_whole_later(tmp_path, limit, made, options, ids):
    path = tmp_path / "events"
    sink = made(options(path=path))
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
