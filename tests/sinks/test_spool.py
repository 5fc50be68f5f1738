import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from offnormal.errors import OffnormalError
from offnormal.sinks.spool import Spool
from offnormal.testing.events import event, message


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path / "state/spool.db", limit=4)
    yield made
    made.close()


def drained(spool, sink):
    found = []
    while (waiting := spool.next(sink)) is not None:
        found.append(waiting.message)
        spool.taken(waiting.seq)
    return found


def test_messages_come_back_in_order_for_each_sink(spool):
    told = [message(number) for number in range(3)]
    for one in told:
        spool.put(one, ["a", "b"])
    spool.put(told[0], ["a"])
    assert drained(spool, "a") == told and spool.waiting("b") == 3 and spool.sinks() == ["b"]
    assert drained(spool, "b") == told and spool.next("c") is None


def test_folders_are_kept(spool, tmp_path):
    spool.put(message(0, folder=tmp_path, snapshot="x.jpg"), ["a"])
    assert spool.next("a").message == message(0, folder=tmp_path, snapshot="x.jpg")


def test_when_full_the_oldest_opened_gives_way_first(spool):
    states = ["closed", "open", "closed", "open", "closed", "closed", "closed"]
    for number, state in enumerate(states):
        spool.put(message(number, state=state), ["a"])
    assert [int(one.event.id[-8:], 16) for one in drained(spool, "a")] == [2, 4, 5, 6]
    assert spool.dropped("a") == 3 and spool.dropped("b") == 0


def test_what_is_refused_stays_and_is_not_tried_again(spool):
    for number in range(6):
        spool.put(message(number), ["a"])
        spool.refused(spool.next("a").seq, "a", "answered 400")
    assert spool.next("a") is None and spool.waiting("a") == 0 and spool.refusals("a") == 4


def test_held_events_are_delivered_once(spool, tmp_path):
    spool.hold(event(1), tmp_path)
    spool.hold(event(0), None)
    assert spool.held() == [(event(1), tmp_path), (event(0), None)]
    spool.put(message(1, state="open"), ["a"])
    assert len(spool.held()) == 2, "the opening says nothing of the end"
    spool.put(message(1), ["a"])
    assert spool.held() == [(event(0), None)]


def test_a_killed_program_loses_nothing(tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom offnormal.sinks.spool import Spool\n"
        "from offnormal.testing.events import event, message\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "for number in range(50): spool.put(message(number), ['a'])\n"
        "spool.hold(event(99))\nos.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s.db")], cwd=root, check=False)
    assert done.returncode == -9
    spool = Spool(tmp_path / "s.db")
    assert drained(spool, "a") == [message(number) for number in range(50)]
    assert spool.held() == [(event(99), None)]
    spool.close()


def test_a_damaged_file_is_set_aside(tmp_path, caplog):
    path = tmp_path / "s.db"
    path.write_bytes(b"no database" * 1000)
    spool = Spool(path)
    spool.put(message(0), ["a"])
    assert drained(spool, "a") == [message(0)]
    assert (tmp_path / "s.damaged").read_bytes().startswith(b"no database") and "was damaged" in caplog.text
    spool.close()


def test_a_message_that_nobody_can_read_blocks_no_other(spool, caplog):
    spool.put(message(0), ["a"])
    spool._db.execute("UPDATE waiting SET message = replace(message, '\"format_version\": 2', '\"format_version\": 9')")
    spool._db.commit()
    spool.put(message(1), ["a"])
    assert drained(spool, "a") == [message(1)] and spool.refusals("a") == 1
    assert "event in format 9" in caplog.text


def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path):
    spool = Spool(tmp_path / "s.db")
    spool.put(message(0), ["a"])
    (pages,) = spool._db.execute("PRAGMA page_count").fetchone()
    spool._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OffnormalError, match=r"s\.db: cannot be written \(database or disk is full\); free some space"):
        for number in range(1, 100):
            spool.put(message(number, detail="x" * 1000), ["a"])
    assert spool.next("a").message == message(0)
    spool.close()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OffnormalError, match="undelivered events cannot be kept there"):
        Spool(tmp_path / "file/spool.db")


def test_what_lies_there_is_plain_sqlite(spool):
    spool.put(message(0), ["a"])
    with sqlite3.connect(spool.path) as other:
        assert other.execute("SELECT sink, what FROM waiting").fetchall() == [("a", "closed")]
    assert spool._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert spool._db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL: what was kept survives a power cut"
