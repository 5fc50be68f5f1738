"""Every registered sink passes the public checks, and a broken one does not."""

import csv
import itertools
import json
import re
import threading
from contextlib import contextmanager

import pytest

from offnormal import registry
from offnormal.errors import ConfigError, OffnormalError
from offnormal.sinks.appended_file import AppendedFileOptions, JsonlSink
from offnormal.sinks.base import DeliveryError
from offnormal.testing import check_sink
from offnormal.testing import sink as checks
from tests.sinks.hook import hook


@contextmanager
def blocked(path, *, by_folder):
    """Put something else at the path that a sink writes to."""
    aside = path.with_name("aside")
    if path.exists():
        path.rename(aside)
    path.mkdir(parents=True) if by_folder else path.write_text("")
    yield
    path.rmdir() if by_folder else path.unlink()
    if aside.exists():
        aside.rename(path)


def ids_of_lines(path):
    return [json.loads(line)["event"]["id"] for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def jsonl(folder):
    path = folder / "events.jsonl"
    yield {
        "options": {"path": path},
        "received": lambda: ids_of_lines(path),
        "outage": lambda: blocked(path, by_folder=True),
    }


@contextmanager
def csv_file(folder):
    path = folder / "events.csv"

    def ids():
        return [row["id"] for row in csv.DictReader(path.open(newline=""))] if path.exists() else []

    yield {"options": {"path": path}, "received": ids, "outage": lambda: blocked(path, by_folder=True)}


@contextmanager
def files(folder):
    out = folder / "events"
    yield {
        "options": {"folder": out},
        "received": lambda: sorted(path.stem for path in out.rglob("*.json")),
        "outage": lambda: blocked(out, by_folder=False),
    }


@contextmanager
def answering(server, answer):
    before, server.answer = server.answer, answer
    yield
    server.answer = before


@contextmanager
def webhook(folder):
    with hook() as server:
        yield {
            "options": {"url": server.url.replace("//", "//guard:hunter2@") + "?token=hunter3", "secret": "hunter4"},
            "received": lambda: [json.loads(body)["event"]["id"] for _, body in server.posts],
            "outage": lambda: answering(server, 503),
            "secrets": ["hunter2", "hunter3", "hunter4"],
        }


@contextmanager
def apprise(folder):
    with hook() as server:
        address = server.url.replace("http://", "json://guard:hunter2@")
        yield {
            "options": {"url": address},
            "received": lambda: [re.search(r"Event (\S+)", json.loads(body)["message"])[1] for _, body in server.posts],
            "outage": lambda: answering(server, 503),
            "secrets": ["hunter2"],
        }


SIDES = {"jsonl": jsonl, "csv": csv_file, "files": files, "webhook": webhook, "apprise": apprise}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", registry.names("sinks"))
def test_contract(name, tmp_path):
    with SIDES[name](tmp_path) as side:
        check_sink(name, tmp_path / "checks", **side)


class Plain(JsonlSink):
    """A correct sink; each class below breaks one rule."""


class Aimless(Plain):
    target_option = "file"


class Deaf(Plain):
    def __init__(self, options):
        super().__init__(AppendedFileOptions(path=options.path))


class LooseOptions(AppendedFileOptions, extra="ignore"):
    """Options that accept any key."""


class Loose(Plain):
    Options = LooseOptions


class Restless(Plain):
    starts = itertools.count()

    def __init__(self, options):
        super().__init__(options)
        self.start = next(self.starts)

    @property
    def description(self):
        return f"restless, start {self.start}"


class Telling(Plain):
    @property
    def description(self):
        return f"telling {self.path}?token=hunter2"


class Eager(Plain):
    def __init__(self, options):
        super().__init__(options)
        options.path.open("ab").close()


class Homebound(Plain):
    def __init__(self, options):
        super().__init__(options)
        self.home = threading.get_ident()

    def deliver(self, message):
        assert threading.get_ident() == self.home, "only at home"
        super().deliver(message)


class Selective(Plain):
    def deliver(self, message):
        if message.transition == "closed":
            super().deliver(message)


class Strict(Plain):
    def deliver(self, message):
        if message.event.id in ids_of_lines(self.path):
            raise DeliveryError("twice", refused=True)
        super().deliver(message)


class Narrow(Plain):
    def deliver(self, message):
        message.event.camera.encode("ascii")
        super().deliver(message)


class Forgetful(Plain):
    def deliver(self, message):
        if not self.path.is_dir():
            super().deliver(message)


class Final(Plain):
    def deliver(self, message):
        try:
            super().deliver(message)
        except OffnormalError as error:
            raise DeliveryError("gone", refused=True) from error


class Stuck(Plain):
    """Never delivers again after a failure in a dispatcher's thread."""

    failed = False

    def deliver(self, message):
        if threading.current_thread() is threading.main_thread():
            return super().deliver(message)
        if self.failed:
            raise DeliveryError("stuck")
        try:
            return super().deliver(message)
        except OffnormalError:
            self.failed = True
            raise


@pytest.fixture
def register(monkeypatch):
    """Register a class under the name "broken"."""

    def add(sink):
        monkeypatch.setitem(registry._BUILT_IN["sinks"], "broken", registry.Entry(f"{__name__}:{sink.__name__}", "x"))
        registry._entries.cache_clear()

    yield add
    registry._entries.cache_clear()


def test_the_base_of_the_broken_sinks_is_correct(register, tmp_path):
    register(Plain)
    with jsonl(tmp_path) as side:
        check_sink(Plain, tmp_path / "checks", **side)


@pytest.mark.parametrize(
    ("broken", "check", "message"),
    [
        (Aimless, "check_options", "no option is called 'file'"),
        (Deaf, "check_options", "does not pass its options to Sink"),
        (Loose, "check_options", "an unknown option is accepted"),
        (Restless, "check_description", "changes from start to start"),
        (Telling, "check_description", "a secret is in"),
        (Eager, "check_idle", "during an outage"),
        (Homebound, "check_delivery", "only at home"),
        (Selective, "check_delivery", "arrived, expected"),
        (Strict, "check_duplicates", "twice"),
        (Narrow, "check_contents", "ascii"),
        (Forgetful, "check_outage", "deliver returned during an outage"),
        (Final, "check_outage", "must not count as a refused message"),
        (Stuck, "check_dispatch", "not delivered"),
    ],
)
def test_a_broken_sink_fails_its_check(broken, check, message, register, tmp_path, monkeypatch):
    register(broken)
    monkeypatch.setattr(checks, "_PATIENCE_S", 2.0)
    with jsonl(tmp_path) as side:
        case = checks._SinkCase("broken", tmp_path / "checks", secrets=["hunter2"], **side)
        case.folder.mkdir()
        with pytest.raises(AssertionError, match=message):
            getattr(checks, f"_{check}")(case)


def test_an_unregistered_class_is_rejected(tmp_path):
    with jsonl(tmp_path) as side, pytest.raises(ConfigError, match=r"Plain is not registered.*entry points"):
        check_sink(Plain, tmp_path, **side)
