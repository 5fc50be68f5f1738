import logging
import socket
import threading
import time

import pytest

from offnormal.errors import OffnormalError
from offnormal.sinks.base import DeliveryError, Sink, SinkOptions
from offnormal.sinks.dispatcher import INTERRUPTED, Dispatcher
from offnormal.sinks.open import open_sinks
from offnormal.sinks.spool import Spool
from offnormal.testing.events import event
from tests.sinks.hook import hook

FAST = {"first_s": 0.01, "cap_s": 0.05}


class RecordingSink(Sink):
    """Records delivered messages, or raises `error` instead."""

    Options, target_option = SinkOptions, "name"
    default_when = ("opened", "closed")
    description = "recording"

    def __init__(self, error=None):
        super().__init__(SinkOptions())
        self.error, self.messages, self.attempts, self.closed = error, [], 0, False
        self.gate = threading.Event()
        self.gate.set()

    def deliver(self, message):
        self.attempts += 1
        self.gate.wait(20)
        if self.error is not None:
            raise self.error
        self.messages.append(message)

    def close(self):
        self.closed = True


def numbers(sink):
    return [int(message.event.id[-8:], 16) for message in sink.messages]


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never became true"
        time.sleep(0.005)


def test_every_sink_gets_every_event_in_order(tmp_path):
    sinks = {"a": RecordingSink(), "b": RecordingSink()}
    with Dispatcher(sinks, tmp_path / "s.db", folder=tmp_path, **FAST) as dispatcher:
        for number in range(20):
            dispatcher.send(event(number))
        assert dispatcher.drain(20)
        assert [(status.sink, status.delivered, status.waiting) for status in dispatcher.statuses()] == [
            ("a", 20, 0),
            ("b", 20, 0),
        ]
    assert numbers(sinks["a"]) == numbers(sinks["b"]) == list(range(20))
    assert sinks["a"].messages[0].folder == tmp_path and sinks["a"].closed


def test_sinks_get_only_the_transitions_they_subscribe_to(tmp_path):
    sink = RecordingSink()
    sink.transitions = ("closed",)
    with Dispatcher({"a": sink}, tmp_path / "s.db", **FAST) as dispatcher:
        dispatcher.send(event(0, state="open"))
        dispatcher.send(event(0))
        assert dispatcher.drain(20)
    assert [message.transition for message in sink.messages] == ["closed"]


def test_a_hanging_sink_delays_no_other(tmp_path):
    hung, healthy = RecordingSink(), RecordingSink()
    hung.gate.clear()
    dispatcher = Dispatcher({"hung": hung, "other": healthy}, tmp_path / "s.db", **FAST)
    with dispatcher:
        for number in range(50):
            dispatcher.send(event(number))
        until(lambda: len(healthy.messages) == 50)
        assert hung.messages == [] and dispatcher.statuses()[0].waiting == 50
        dispatcher.close(timeout_s=0.1)
    hung.gate.set()


@pytest.mark.parametrize("error", [DeliveryError("answered 500"), ZeroDivisionError("a foreign sink")])
def test_after_an_outage_all_messages_arrive_once_and_in_order(tmp_path, error, caplog):
    caplog.set_level(logging.INFO)
    sink = RecordingSink(error)
    with Dispatcher({"a": sink}, tmp_path / "s.db", **FAST) as dispatcher:
        for number in range(10):
            dispatcher.send(event(number))
        until(lambda: sink.attempts > 3)
        (status,) = dispatcher.statuses()
        assert str(error) in status.last_error and status.waiting == 10 and status.failures >= 3
        sink.error = None
        assert dispatcher.drain(20)
    assert numbers(sink) == list(range(10))
    assert caplog.text.count("retrying until it is delivered") == 1 and "delivery works again" in caplog.text


def test_a_refused_message_blocks_no_other(tmp_path):
    class Picky(RecordingSink):
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


def test_retry_after_is_respected_up_to_the_cap(tmp_path):
    sink = RecordingSink(DeliveryError("answered 429", wait_s=3600.0))
    with Dispatcher({"a": sink}, tmp_path / "s.db", first_s=0.01, cap_s=0.3) as dispatcher:
        dispatcher.send(event(0))
        until(lambda: sink.attempts == 1)
        time.sleep(0.15)
        assert sink.attempts == 1
        until(lambda: sink.attempts == 2)


def test_waiting_messages_are_delivered_after_a_restart(tmp_path):
    with Dispatcher({"a": RecordingSink(DeliveryError("down"))}, tmp_path / "s.db", first_s=60) as dispatcher:
        for number in range(5):
            dispatcher.send(event(number))
    sink = RecordingSink()
    with Dispatcher({"a": sink}, tmp_path / "s.db", **FAST) as dispatcher:
        dispatcher.send(event(5))
        assert dispatcher.drain(20)
    assert numbers(sink) == list(range(6))


def test_a_held_event_is_delivered_after_a_restart_with_its_problems(tmp_path):
    spool = Spool(tmp_path / "s.db")
    spool.hold(event(7, clip="c.mp4", problems=("x",)), tmp_path)
    spool.close()
    sink = RecordingSink()
    with Dispatcher({"a": sink}, tmp_path / "s.db", **FAST) as dispatcher:
        assert dispatcher.drain(20)
    (message,) = sink.messages
    assert message.event.clip is None and message.event.problems == ("x", INTERRUPTED) and message.folder == tmp_path


def test_a_full_disk_keeps_events_in_memory(tmp_path, caplog):
    sink = RecordingSink()
    with Dispatcher({"a": sink}, tmp_path / "s.db", **FAST) as dispatcher:

        def full(*_):
            raise OffnormalError("s.db: cannot be written (disk is full)")

        dispatcher._spool.put = full
        dispatcher.send(event(0))
        until(lambda: sink.messages)
    assert numbers(sink) == [0] and "kept in memory only" in caplog.text


@pytest.mark.parametrize("refuses", [False, True])
def test_with_a_full_disk_nothing_is_delivered_twice_or_delayed(tmp_path, caplog, refuses):
    """A delivered message cannot be removed from the spool: it is not sent again, and later ones are sent."""
    sink = RecordingSink(DeliveryError("never", refused=True) if refuses else None)
    with Dispatcher({"a": sink}, tmp_path / "s.db", **FAST) as dispatcher:
        delivered, refused = dispatcher._spool.mark_delivered, dispatcher._spool.mark_refused

        def full(*_):
            raise OffnormalError("s.db: cannot be written (disk is full)")

        dispatcher._spool.mark_delivered = dispatcher._spool.mark_refused = full
        for number in range(3):
            dispatcher.send(event(number))
        until(lambda: sink.attempts == 3)
        dispatcher._spool.put = full
        dispatcher.send(event(3))
        until(lambda: sink.attempts == 4)
        assert dispatcher.drain(20)
        time.sleep(0.2)
        assert sink.attempts == 4
        assert caplog.text.count("would be sent again after a restart") == 1
        dispatcher._spool.mark_delivered, dispatcher._spool.mark_refused = delivered, refused
    assert numbers(sink) == ([] if refuses else [0, 1, 2, 3])
    reopened = Spool(tmp_path / "s.db")
    assert (reopened.count_waiting("a"), reopened.count_refused("a")) == ((0, 3) if refuses else (0, 0))


def test_a_sink_that_is_no_longer_configured_is_named(tmp_path, caplog):
    with Dispatcher({"old": RecordingSink(DeliveryError("down"))}, tmp_path / "s.db") as dispatcher:
        dispatcher.send(event(0))
    with Dispatcher({"new": RecordingSink()}, tmp_path / "s.db"):
        pass
    assert "events wait for sinks that are no longer configured: old" in caplog.text


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
            before = server.attempts
            until(lambda: server.attempts > before + 2)
            dispatcher.send(event(1))
            server.answer = 204
            assert dispatcher.drain(20)
            arrived = [headers["Idempotency-Key"] for headers, _ in server.posts]
        status = dispatcher.statuses()[0]
    assert list(dict.fromkeys(arrived)) == [f"{event(number).id}-closed" for number in range(2)]
    assert not any(secret in caplog.text + str(status) for secret in ("hunter2", "t0ken", "s3cret"))


def test_a_spool_that_cannot_be_read_stops_no_alert(tmp_path, caplog):
    sink = RecordingSink()
    with Dispatcher({"a": sink}, tmp_path / "s.db", **FAST) as dispatcher:

        def broken(*_args, **_kwargs):
            raise OffnormalError("s.db: cannot be used (disk I/O error)")

        spool = dispatcher._spool
        before = spool.put, spool.next, spool.count_waiting
        spool.put = spool.next = spool.count_waiting = broken
        for number in range(5):
            dispatcher.send(event(number))
        until(lambda: len(sink.messages) == 5)
        assert dispatcher.statuses()[0].waiting == 0
        assert caplog.text.count("kept in memory only") == 1 == caplog.text.count("stored messages have to wait")
        spool.put, spool.next, spool.count_waiting = before
        dispatcher.send(event(5))
        assert dispatcher.drain(20)
    assert numbers(sink) == list(range(6))
