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
    store = Spool(tmp_path / "state/spool.db", limit=4)
    yield store
    store.close()


def drained(spool, sink):
    messages = []
    while (waiting := spool.next(sink)) is not None:
        messages.append(waiting.message)
        spool.mark_delivered(waiting.seq)
    return messages


def test_each_sink_gets_its_messages_in_order(spool):
    sent = [message(number) for number in range(3)]
    for each in sent:
        spool.put(each, ["a", "b"])
    spool.put(sent[0], ["a"])
    assert drained(spool, "a") == sent and spool.count_waiting("b") == 3 and spool.sinks() == ["b"]
    assert drained(spool, "b") == sent and spool.next("c") is None


def test_folders_are_stored(spool, tmp_path):
    spool.put(message(0, folder=tmp_path, snapshot="x.jpg"), ["a"])
    assert spool.next("a").message == message(0, folder=tmp_path, snapshot="x.jpg")


def test_a_full_spool_drops_the_oldest_opened_message_first(spool):
    states = ["closed", "open", "closed", "open", "closed", "closed", "closed"]
    for number, state in enumerate(states):
        spool.put(message(number, state=state), ["a"])
    assert [int(each.event.id[-8:], 16) for each in drained(spool, "a")] == [2, 4, 5, 6]
    assert spool.count_dropped("a") == 3 and spool.count_dropped("b") == 0


def test_a_repeated_message_drops_no_other(spool):
    for number in [0, 1, 2, 3, 3, 3]:
        spool.put(message(number), ["a"])
    assert drained(spool, "a") == [message(number) for number in range(4)] and spool.count_dropped("a") == 0


def test_a_refused_message_stays_and_is_not_sent_again(spool):
    for number in range(6):
        spool.put(message(number), ["a"])
        spool.mark_refused(spool.next("a").seq, "a", "answered 400")
    assert spool.next("a") is None and spool.count_waiting("a") == 0 and spool.count_refused("a") == 4


def test_held_events_are_delivered_once(spool, tmp_path):
    spool.hold(event(1), tmp_path)
    spool.hold(event(0), None)
    assert spool.held_events() == [(event(1), tmp_path), (event(0), None)]
    spool.put(message(1, state="open"), ["a"])
    assert len(spool.held_events()) == 2, "the opened message does not release it"
    spool.put(message(1), ["a"])
    assert spool.held_events() == [(event(0), None)]


def test_a_killed_program_loses_nothing(tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom offnormal.sinks.spool import Spool\n"
        "from offnormal.testing.events import event, message\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "for number in range(50): spool.put(message(number), ['a'])\n"
        "spool.hold(event(99))\nos.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[2]
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s.db")], cwd=root, check=False)
    assert process.returncode == -9
    spool = Spool(tmp_path / "s.db")
    assert drained(spool, "a") == [message(number) for number in range(50)]
    assert spool.held_events() == [(event(99), None)]
    spool.close()


def test_a_damaged_file_is_renamed(tmp_path, caplog):
    path = tmp_path / "s.db"
    path.write_bytes(b"no database" * 1000)
    spool = Spool(path)
    spool.put(message(0), ["a"])
    assert drained(spool, "a") == [message(0)]
    assert (tmp_path / "s.db.damaged").read_bytes().startswith(b"no database") and "was damaged" in caplog.text
    spool.close()


def test_an_unreadable_message_blocks_no_other(spool, caplog):
    spool.put(message(0), ["a"])
    spool._db.execute("UPDATE waiting SET message = replace(message, '\"format_version\": 3', '\"format_version\": 9')")
    spool._db.commit()
    spool.put(message(1), ["a"])
    assert drained(spool, "a") == [message(1)] and spool.count_refused("a") == 1
    assert "event in format 9" in caplog.text


def test_a_full_disk_is_an_error_and_keeps_stored_messages(tmp_path):
    spool = Spool(tmp_path / "s.db")
    spool.put(message(0), ["a"])
    (pages,) = spool._db.execute("PRAGMA page_count").fetchone()
    spool._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OffnormalError, match=r"s\.db: cannot be used \(database or disk is full\); free some"):
        for number in range(1, 100):
            spool.put(message(number, detail="x" * 1000), ["a"])
    assert spool.next("a").message == message(0)
    spool.close()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OffnormalError, match="cannot store undelivered events"):
        Spool(tmp_path / "file/spool.db")


def test_the_file_is_plain_sqlite(spool):
    spool.put(message(0), ["a"])
    with sqlite3.connect(spool.path) as database:
        assert database.execute("SELECT sink, transition FROM waiting").fetchall() == [("a", "closed")]
    assert spool._db.execute("PRAGMA journal_mode").fetchone() == (b"wal",)
    assert spool._db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL: stored messages survive a power cut"


DEEP = "[" * 100_000


@pytest.mark.parametrize("content", [DEEP, b"\xff\xfe", "{}", "[]", "null", 7, '{"format_version": "\\udce9"}'])
def test_a_damaged_held_event_is_set_aside_and_the_others_are_delivered(tmp_path, caplog, content):
    path = tmp_path / "s.db"
    spool = Spool(path)
    spool.hold(event(1))
    spool.close()
    with sqlite3.connect(path) as database:
        for name in ("a", "b"):
            database.execute("INSERT INTO held VALUES (?, CAST(? AS TEXT), NULL)", (name, content))
    spool = Spool(path)
    assert spool.held_events() == [(event(1), None)]
    assert spool.held_events() == [(event(1), None)]
    spool.close()
    assert len(caplog.records) == 1 and "is set aside in this file" in caplog.text
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM damaged").fetchone() == (2,)


@pytest.mark.parametrize("content", [DEEP, b"\xff\xfe", "{}", 7, '{"transition": "\\udce9"}'])
def test_a_damaged_message_blocks_no_other(tmp_path, caplog, content):
    spool = Spool(tmp_path / "s.db")
    for number in range(3):
        spool.put(message(number), ["a"])
    with spool._db:
        spool._db.execute("UPDATE waiting SET message = CAST(? AS TEXT) WHERE seq < 3", (content,))
    assert drained(spool, "a") == [message(2)] and spool.count_refused("a") == 2
    assert spool.sinks() == ["a"] and len(caplog.records) == 1
    spool.close()


def test_rows_of_a_damaged_file_that_can_be_read_are_not_lost(tmp_path, caplog):
    path = tmp_path / "s.db"
    spool = Spool(path)
    for number in range(200):
        spool.put(message(number, detail="x" * 2000), ["a"])
    spool.hold(event(900))
    spool.close()
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 8192] = b"\xff" * 8192
    path.write_bytes(data)
    spool = Spool(path)
    messages, sent = drained(spool, "a"), [message(number, detail="x" * 2000) for number in range(200)]
    assert 150 < len(messages) < 200 and spool.held_events() == [(event(900), None)]
    assert messages == [each for each in sent if each in messages]
    assert (tmp_path / "s.db.damaged").exists() and "of its rows could be read" in caplog.text
    spool.close()


def cut(data):
    return data[: len(data) // 2]


def index_only(data):
    return data.replace(b"20261121T120000.000Z-00000000-closed", b"20261121T120000.000Z-99999999-closed", 1)


@pytest.mark.parametrize(
    "damage",
    [
        cut, lambda data: data[:20], index_only, lambda data: data[:18] + b"\x80" + data[19:],
        lambda data: data.replace(b"TABLE waiting", b"TABLE\xa0waiting"),
    ],
)  # fmt: skip
def test_a_file_that_a_power_cut_damaged_is_set_aside(tmp_path, caplog, damage):
    path = tmp_path / "s.db"
    spool = Spool(path)
    for number in range(20):
        spool.put(message(number), ["a"])
    spool.close()
    path.write_bytes(damage(path.read_bytes()))
    spool = Spool(path)
    spool.put(message(30), ["a"])
    assert message(30) in drained(spool, "a")
    assert (tmp_path / "s.db.damaged").exists() and "was damaged" in caplog.text
    spool.close()


def test_a_file_with_other_tables_is_set_aside(tmp_path, caplog):
    with sqlite3.connect(tmp_path / "s.db") as database:
        database.execute("CREATE TABLE waiting (x)")
    spool = Spool(tmp_path / "s.db")
    spool.put(message(0), ["a"])
    assert drained(spool, "a") == [message(0)] and (tmp_path / "s.db.damaged").exists()
    spool.close()


def test_a_file_that_is_deleted_while_it_is_used_is_created_again(tmp_path, caplog):
    path = tmp_path / "s.db"
    spool = Spool(path)
    for number in range(3):
        spool.put(message(number), ["a"])
    spool.mark_delivered(spool.next("a").seq)
    for file in tmp_path.glob("s.db*"):
        file.unlink()
    spool.hold(event(9))
    spool.put(message(3), ["a"])
    assert caplog.text.count("was deleted and is created again, with 2 rows") == 1 == len(caplog.records)
    copy = Spool(path)
    assert [each.event.id for each in drained(copy, "a")] == [event(number).id for number in (1, 2, 3)]
    assert copy.held_events() == [(event(9), None)]
    copy.close()
    spool.close()


def test_a_file_that_is_damaged_while_it_is_used_is_set_aside(tmp_path, caplog):
    path = tmp_path / "s.db"
    spool = Spool(path)
    for number in range(50):
        spool.put(message(number, detail="x" * 2000), ["a"])
    spool._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.write(b"\xff" * 4096)
    (tmp_path / "s.db-shm").unlink(missing_ok=True)
    spool._db.close()
    spool._db = sqlite3.connect(path, check_same_thread=False)
    with pytest.raises(OffnormalError, match=r"s\.db: cannot be used"):
        spool.put(message(50), ["a"])
    spool.put(message(51), ["a"])
    assert spool.next("a") is not None and (tmp_path / "s.db.damaged").exists()
    assert caplog.text.count("was damaged") == 1
    spool.close()
