"""Checks that every sink must pass, for any target; a plug-in runs them in one test.

    def test_contract(tmp_path):
        with server() as other_side:
            check_sink(
                "mine", tmp_path, options={"url": other_side.url}, received=other_side.ids, outage=other_side.down
            )

Each check delivers drawn events and asks the receiving side which have arrived.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from offnormal import registry
from offnormal.errors import ConfigError, OffnormalError
from offnormal.sinks.base import Message, Sink, SinkOptions, Transition
from offnormal.sinks.dispatcher import Dispatcher
from offnormal.sinks.open import open_sinks
from offnormal.testing.contract import registered_name, run_checks
from offnormal.testing.events import event, message

_PATIENCE_S = 60.0


@dataclass
class _SinkCase:
    """A registered sink with its options, and the receiving side."""

    name: str
    folder: Path  # empty; for files
    options: Mapping[str, object]
    received: Callable[[], Sequence[str]]
    outage: Callable[[], AbstractContextManager[object]]
    secrets: Sequence[str]
    numbers: Iterator[int] = field(default_factory=itertools.count)  # of events, so that no event is sent twice

    def open(self, **more: object) -> Sink:
        """Open a new sink, as from a configuration file."""
        (sink,) = open_sinks([{"kind": self.name, **self.options, **more}], environment={}).values()
        return sink

    def message(self, folder: Path | None = None, **changes: object) -> Message:
        """A message with a new event."""
        return message(next(self.numbers), folder, **changes)

    def delivered_ids(self, *messages: Message) -> list[str]:
        """Ids of these events as they have arrived, in order and with repeats."""
        sent = {each.event.id for each in messages}
        return [event_id for event_id in self.received() if event_id in sent]

    def assert_no_secrets(self, text: str) -> None:
        """AssertionError if a text contains a secret."""
        assert not any(secret in text for secret in self.secrets), f"a secret is in {text!r}"


def check_sink(
    sink: str | type[Sink],
    folder: Path,
    *,
    options: Mapping[str, object],
    received: Callable[[], Sequence[str]],
    outage: Callable[[], AbstractContextManager[object]],
    secrets: Sequence[str] = (),
) -> None:
    """Check the contract of a registered sink; AssertionError names the violation.

    sink: its name or class. folder: empty, for files. options: as in a configuration file, without `kind`. received:
    returns the ids of the events on the receiving side, in order of arrival. outage: a context in which nothing can be
    delivered. secrets: texts in the options that must never be printed. Raises ConfigError for a class that is not
    registered.
    """
    name = registered_name("sinks", sink)
    folder.mkdir(parents=True, exist_ok=True)
    case = _SinkCase(name, folder, options, received, outage, secrets)
    run_checks(CHECKS, case, name)


def _check_options(case: _SinkCase) -> None:
    """Options are checked by a model of their own; `KIND:TARGET` and a mapping give the same sink."""
    sink_class = registry.resolve("sinks", case.name)
    options, name = sink_class.Options, sink_class.target_option
    assert issubclass(options, SinkOptions), f"Options: {options}, expected a subclass of SinkOptions"
    assert name in options.model_fields, f"no option is called {name!r}"
    assert name in case.options, f"options: the target {name!r} is missing"
    assert sink_class.default_when and set(sink_class.default_when) <= set(get_args(Transition)), (
        f"default_when: {sink_class.default_when}"
    )
    try:
        case.open(no_such_option=1)
    except ConfigError as error:
        assert "no_such_option" in str(error), error
        case.assert_no_secrets(str(error))
    else:
        raise AssertionError("an unknown option is accepted: let Options forbid it")
    assert case.open(when=["opened"]).transitions == ("opened",), "the constructor does not pass its options to Sink"
    target = case.options[sink_class.target_option]
    required = {name for name, option in sink_class.Options.model_fields.items() if option.is_required()}
    if required <= {sink_class.target_option}:
        (sink,) = open_sinks([f"{case.name}:{target}"], environment={}).values()
        assert sink.description == case.open().description, f"{case.name}:{target} is described as {sink.description}"


def _check_description(case: _SinkCase) -> None:
    """`description` is one line, the same at every start, and without secrets."""
    description = case.open().description
    assert isinstance(description, str) and description.strip() and "\n" not in description, (
        f"description: {description!r}"
    )
    assert case.open().description == description, "description changes from start to start"
    case.assert_no_secrets(description)


def _check_idle(case: _SinkCase) -> None:
    """A sink opens, idles, and closes (also twice) during an outage: a start does not wait for the receiver."""
    with case.outage(), _succeeds("to open, idle, and close during an outage"):
        sink = case.open()
        sink.idle()
        sink.close()
        sink.close()


def _check_delivery(case: _SinkCase) -> None:
    """Open and closed events arrive in order, also if another thread delivers them."""
    sink, sent = case.open(), [case.message(state=state) for state in ("open", "closed", "closed")]
    with ThreadPoolExecutor(1) as other_thread, _succeeds("to deliver in another thread"):
        list(other_thread.map(sink.deliver, sent))
    expected = [each.event.id for each in sent]
    assert case.delivered_ids(*sent) == expected, f"{case.delivered_ids(*sent)} arrived, expected {expected}"
    sink.close()


def _check_duplicates(case: _SinkCase) -> None:
    """Delivering a message again, also after a restart, is not an error and loses nothing."""
    first, last = case.message(), case.message()
    sink = case.open()
    with _succeeds("to deliver a message again"):
        for each in (first, first, last):
            sink.deliver(each)
        case.open().deliver(last)
    assert set(case.delivered_ids(first, last)) == {first.event.id, last.event.id}


def _check_contents(case: _SinkCase) -> None:
    """Every event arrives: any alphabet, no score, no peak, existing and deleted files."""
    media = case.folder / "media"
    media.mkdir(parents=True)
    (media / "s.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    sent = [
        case.message(camera='Straße/東 "1", \';', detail="line 1\nline 2 = 50 %", problems=("a", "b")),
        case.message(
            kind="no_frames", peak=None, peak_score=None, p_value=None, severity=None, threshold=None, scores=()
        ),
        case.message(folder=media, snapshot="s.jpg", heat_map="gone.jpg", clip="gone.mp4"),
        case.message(state="open", continues=event(0).id, position_s=3.25),
    ]
    sink = case.open()
    for each in sent:
        with _succeeds(f"to deliver {each.event}"):
            sink.deliver(each)
        assert case.delivered_ids(each), f"not delivered: {each.event}"


def _check_outage(case: _SinkCase) -> None:
    """An outage raises an error that permits a retry; the message then arrives exactly once."""
    sink, sent = case.open(), case.message()
    with case.outage():
        for _ in range(2):
            try:
                sink.deliver(sent)
            except (OffnormalError, OSError) as error:
                assert str(error).strip(), "the error has no message"
                assert not getattr(error, "refused", False), f"an outage must not count as a refused message: {error}"
                case.assert_no_secrets(str(error))
            else:
                raise AssertionError("deliver returned during an outage: raise DeliveryError")
    assert not case.delivered_ids(sent)
    with _succeeds("to deliver after an outage"):
        sink.deliver(sent)
    assert case.delivered_ids(sent) == [sent.event.id], f"{case.delivered_ids(sent)} arrived, expected one event"


def _check_dispatch(case: _SinkCase) -> None:
    """The dispatcher delivers the events of an outage once it is over."""
    sink, sent = case.open(when=["opened", "closed"]), [case.message(state=state) for state in ("open", "closed")]
    with Dispatcher({case.name: sink}, case.folder / "spool.db", first_s=0.01, cap_s=0.05) as dispatcher:
        with case.outage():
            for each in sent:
                dispatcher.send(each.event)
            end = time.monotonic() + _PATIENCE_S
            while not dispatcher.statuses()[0].failures:
                assert time.monotonic() < end, "no attempt failed during the outage"
                time.sleep(0.01)
        assert dispatcher.drain(_PATIENCE_S), f"not delivered: {dispatcher.statuses()[0]}"
    assert case.delivered_ids(*sent) == [each.event.id for each in sent]


@contextmanager
def _succeeds(action: str) -> Iterator[None]:
    """Turn any exception inside into an AssertionError."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"failed {action}: {type(error).__name__}: {error}") from error


CHECKS: tuple[Callable[[_SinkCase], None], ...] = (
    _check_options,
    _check_description,
    _check_idle,
    _check_delivery,
    _check_duplicates,
    _check_contents,
    _check_outage,
    _check_dispatch,
)
"""What `check_sink` checks, in this order."""
