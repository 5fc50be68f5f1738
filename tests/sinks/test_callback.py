from offnormal.sinks.callback import CallbackSink
from offnormal.sinks.dispatcher import Dispatcher
from offnormal.testing.events import event
from tests.sinks.test_dispatcher import FAST


def test_a_function_takes_events_that_open_and_close_in_order(tmp_path):
    taken = []
    with Dispatcher({"callback": CallbackSink(taken.append)}, tmp_path / "s.db", **FAST) as dispatcher:
        for state in ("open", "closed"):
            dispatcher.send(event(1, state=state))
        assert dispatcher.drain(20)
    assert taken == [event(1, state="open"), event(1)]


def test_an_event_that_the_function_fails_on_comes_again(tmp_path):
    attempts = []

    def fail_once(found):
        attempts.append(found.id)
        if len(attempts) == 1:
            raise RuntimeError("not ready")

    with Dispatcher({"callback": CallbackSink(fail_once)}, tmp_path / "s.db", **FAST) as dispatcher:
        dispatcher.send(event(1))
        assert dispatcher.drain(20)
    assert attempts == [event(1).id] * 2
