import logging
import socket
import threading
import time

import pytest

from offnormal.errors import OffnormalError
from offnormal.sinks.base import DeliveryError, Sink, SinkOptions, open_sinks
from offnormal.sinks.dispatcher import INTERRUPTED, Dispatcher
from offnormal.sinks.spool import Spool
from offnormal.testing.events import event
from tests.sinks.hook import hook

FAST = {"first_s": 0.01, "cap_s": 0.05}


class Kept(Sink):
    """Keeps what it takes; `trouble` is raised instead."""

    Options, target_option = SinkOptions, "name"
    default_when = ("opened", "closed")
    shown = "kept"

    def __init__(self, trouble=None):
        super().__init__(SinkOptions())
        self.trouble, self.taken, self.attempts, self.closed = trouble, [], 0, False
        self.gate = threading.Event()
        self.gate.set()

    def deliver(self, message):
        self.attempts += 1
        self.gate.wait(20)
        if self.trouble is not None:
            raise self.trouble
        self.taken.append(message)

    def close(self):
        self.closed = True


def numbers(sink):
    return [int(one.event.id[-8:], 16) for one in sink.taken]


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.005)


def test_every_sink_gets_every_event_in_order(tmp_path):
    sinks = {"a": Kept(), "b": Kept()}
    with Dispatcher(sinks, tmp_path / "s.db", folder=tmp_path, **FAST) as dispatcher:
        for number in range(20):
            dispatcher.send(event(number))
        assert dispatcher.drain(20)
        assert [(fares.sink, fares.delivered, fares.waiting) for fares in dispatcher.statuses()] == [
            ("a", 20, 0),
            ("b", 20, 0),
        ]
    assert numbers(sinks["a"]) == numbers(sinks["b"]) == list(range(20))
    assert sinks["a"].taken[0].folder == tmp_path and sinks["a"].closed


def test_sinks_get_what_they_want(tmp_path):
    sink = Kept()
    sink.wants = ("closed",)
    with Dispatcher({"a": sink}, tmp_path / "s.db", **FAST) as dispatcher:
        dispatcher.send(event(0, state="open"))
        dispatcher.send(event(0))
        assert dispatcher.drain(20)
    assert [one.what for one in sink.taken] == ["closed"]


def test_a_sink_that_hangs_holds_nobody_up(tmp_path):
    hung, other = Kept(), Kept()
    hung.gate.clear()
    dispatcher = Dispatcher({"hung": hung, "other": other}, tmp_path / "s.db", **FAST)
    with dispatcher:
        for number in range(50):
            dispatcher.send(event(number))
        until(lambda: len(other.taken) == 50)
        assert hung.taken == [] and dispatcher.statuses()[0].waiting == 50
        dispatcher.close(timeout_s=0.1)
    hung.gate.set()


@pytest.mark.parametrize("trouble", [DeliveryError("answered 500"), ZeroDivisionError("a sink of somebody else's")])
def test_after_trouble_all_arrives_once_and_in_order(tmp_path, trouble, caplog):
    caplog.set_level(logging.INFO)
    sink = Kept(trouble)
    with Dispatcher({"a": sink}, tmp_path / "s.db", **FAST) as dispatcher:
        for number in range(10):
            dispatcher.send(event(number))
        until(lambda: sink.attempts > 3)
        (fares,) = dispatcher.statuses()
        assert str(trouble) in fares.trouble and fares.waiting == 10 and fares.failures >= 3
        sink.trouble = None
        assert dispatcher.drain(20)
    assert numbers(sink) == list(range(10))
    assert caplog.text.count("trying again until it is delivered") == 1 and "takes events again" in caplog.text


def test_what_is_refused_for_good_blocks_no_other(tmp_path):
    class Picky(Kept):
        def deliver(self, message):
            if message.event.id == event(1).id:
                raise DeliveryError("answered 400", refused=True)
            super().deliver(message)

    sink = Picky()
    with Dispatcher({"a": sink}, tmp_path / "s.db", **FAST) as dispatcher:
        for number in range(3):
            dispatcher.send(event(number))
        assert dispatcher.drain(20)
        assert dispatcher.statuses()[0].refused == 1 and dispatcher.statuses()[0].delivered == 2
    assert numbers(sink) == [0, 2]


def test_the_wait_that_was_asked_for_is_kept_up_to_the_cap(tmp_path):
    sink = Kept(DeliveryError("answered 429", wait_s=3600.0))
    with Dispatcher({"a": sink}, tmp_path / "s.db", first_s=0.01, cap_s=0.3) as dispatcher:
        dispatcher.send(event(0))
        until(lambda: sink.attempts == 1)
        time.sleep(0.15)
        assert sink.attempts == 1
        until(lambda: sink.attempts == 2)


def test_what_was_left_is_delivered_after_a_restart(tmp_path):
    with Dispatcher({"a": Kept(DeliveryError("down"))}, tmp_path / "s.db", first_s=60) as dispatcher:
        for number in range(5):
            dispatcher.send(event(number))
    sink = Kept()
    with Dispatcher({"a": sink}, tmp_path / "s.db", **FAST) as dispatcher:
        dispatcher.send(event(5))
        assert dispatcher.drain(20)
    assert numbers(sink) == list(range(6))


def test_a_held_event_is_delivered_after_a_restart_and_says_what_it_lacks(tmp_path):
    spool = Spool(tmp_path / "s.db")
    spool.hold(event(7, clip="c.mp4", problems=("x",)), tmp_path)
    spool.close()
    sink = Kept()
    with Dispatcher({"a": sink}, tmp_path / "s.db", **FAST) as dispatcher:
        assert dispatcher.drain(20)
    (message,) = sink.taken
    assert message.event.clip is None and message.event.problems == ("x", INTERRUPTED) and message.folder == tmp_path


def test_a_full_disk_keeps_events_in_memory(tmp_path, caplog):
    sink = Kept()
    with Dispatcher({"a": sink}, tmp_path / "s.db", **FAST) as dispatcher:

        def full(*_):
            raise OffnormalError("s.db: cannot be written (disk is full)")

        dispatcher._spool.put = full
        dispatcher.send(event(0))
        until(lambda: sink.taken)
    assert numbers(sink) == [0] and "kept in memory alone" in caplog.text


@pytest.mark.parametrize("refuses", [False, True])
def test_a_full_disk_has_nothing_delivered_twice_and_holds_nothing_up(tmp_path, caplog, refuses):
    """What was delivered cannot be taken off the list: it is not delivered again, and what comes after it is."""
    sink = Kept(DeliveryError("never", refused=True) if refuses else None)
    with Dispatcher({"a": sink}, tmp_path / "s.db", **FAST) as dispatcher:
        taken, refused = dispatcher._spool.taken, dispatcher._spool.refused

        def full(*_):
            raise OffnormalError("s.db: cannot be written (disk is full)")

        dispatcher._spool.taken = dispatcher._spool.refused = full
        for number in range(3):
            dispatcher.send(event(number))
        until(lambda: sink.attempts == 3)
        dispatcher._spool.put = full
        dispatcher.send(event(3))
        until(lambda: sink.attempts == 4)
        assert dispatcher.drain(20)
        time.sleep(0.2)
        assert sink.attempts == 4
        assert caplog.text.count("would be delivered again after a restart") == 1
        dispatcher._spool.taken, dispatcher._spool.refused = taken, refused
    assert numbers(sink) == ([] if refuses else [0, 1, 2, 3])
    again = Spool(tmp_path / "s.db")
    assert (again.waiting("a"), again.refusals("a")) == ((0, 3) if refuses else (0, 0))


def test_events_of_a_sink_that_is_gone_are_named(tmp_path, caplog):
    with Dispatcher({"old": Kept(DeliveryError("down"))}, tmp_path / "s.db") as dispatcher:
        dispatcher.send(event(0))
    with Dispatcher({"new": Kept()}, tmp_path / "s.db"):
        pass
    assert "events wait for old, which no sink is called any more" in caplog.text


def test_a_real_endpoint_that_refuses_hangs_fails_and_recovers(tmp_path, caplog):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://user:hunter2@127.0.0.1:{port}/hook?token=t0ken"
    sinks = open_sinks([{"kind": "webhook", "url": address, "timeout_s": 0.3, "secret": "s3cret"}], environment={})
    with Dispatcher(sinks, tmp_path / "s.db", **FAST) as dispatcher:
        dispatcher.send(event(0))
        until(lambda: dispatcher.statuses()[0].failures > 2)  # nobody listens
        with hook(port) as server:
            server.answer = "hang"
            until(lambda: server.attempts > 1)
            server.answer = 500
            server.released.set()
            seen = server.attempts
            until(lambda: server.attempts > seen + 2)
            dispatcher.send(event(1))
            server.answer = 204
            assert dispatcher.drain(20)
            arrived = [headers["Idempotency-Key"] for headers, _ in server.posts]
        fares = dispatcher.statuses()[0]
    assert list(dict.fromkeys(arrived)) == [f"{event(number).id}-closed" for number in range(2)]
    assert not any(secret in caplog.text + str(fares) for secret in ("hunter2", "t0ken", "s3cret"))
