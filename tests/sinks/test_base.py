import pytest

from offnormal.errors import ConfigError, DataError
from offnormal.sinks.base import CallbackSink, Message, Sink, SinkOptions, open_sinks
from offnormal.sinks.dispatcher import Dispatcher
from offnormal.testing.events import event, message
from tests.sinks.hook import hook
from tests.sinks.test_dispatcher import FAST

MAIL = "mailto://u:hunter2@mail.example.org?to=a@example.org"


class Plain(Sink):
    Options, target_option, shown = SinkOptions, "name", "plain"

    def deliver(self, message):
        pass


def test_a_message_is_named_after_its_event_and_what_happened():
    assert message(3).id == f"{event(3).id}-closed" and message(3, state="open").id == f"{event(3).id}-opened"


def test_files_are_found_below_the_folder_while_they_are_there(tmp_path):
    (tmp_path / "s.jpg").write_bytes(b"x")
    found = message(folder=tmp_path, snapshot="s.jpg", clip="gone.mp4")
    assert found.file("snapshot") == tmp_path / "s.jpg"
    assert found.file("clip") is None and found.file("heat_map") is None
    assert message(snapshot="s.jpg").file("snapshot") is None, "there is no folder"


def test_a_message_comes_back_from_json_and_one_of_another_format_does_not(tmp_path):
    sent = message(2, folder=tmp_path, problems=("clip: the disk is full",))
    assert Message.from_json(sent.to_json(), tmp_path) == sent
    values = sent.to_json()
    values["event"]["format_version"] = 99
    with pytest.raises(DataError, match="format 99"):
        Message.from_json(values)


def test_a_sink_wants_closed_events_unless_other_ones_are_chosen():
    assert Plain(SinkOptions()).wants == ("closed",)
    assert Plain(SinkOptions(when=["opened"])).wants == ("opened",)


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


def test_sinks_as_the_command_line_says_them(tmp_path):
    said = [f"jsonl:{tmp_path}/e.jsonl", "csv:e.csv", f"files:{tmp_path}", "webhook:http://u:pw@127.0.0.1:9/hook?x=1"]
    sinks = open_sinks([*said, f"apprise:{MAIL}"], environment={})
    assert [sink.shown.split()[0] for sink in sinks.values()] == ["jsonl", "csv", "files", "webhook", "alert"]
    assert [sink.wants for sink in sinks.values()] == [("closed",)] * 3 + [("opened", "closed"), ("opened",)]
    assert not any("pw" in sink.shown or "hunter2" in sink.shown for sink in sinks.values())


def test_names_stay_the_same_when_a_password_changes():
    names = [list(open_sinks([f"webhook:http://u:{pw}@h/x"], environment={})) for pw in ("one", "two")]
    assert names[0] == names[1] != list(open_sinks(["webhook:http://u:one@h/y"], environment={}))
    assert list(open_sinks([{"kind": "csv", "path": "a.csv", "name": "table"}])) == ["table"]


def test_the_secret_comes_from_the_environment_too():
    with hook() as server:
        (sink,) = open_sinks([f"webhook:{server.url}"], {"OFFNORMAL_WEBHOOK_SECRET": "s"}).values()
        sink.deliver(message())
        assert server.posts[0][0]["X-Offnormal-Signature"].startswith("sha256=")


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("josnl:x", "sink 'josnl:x': did you mean jsonl:"),
        ("jsonl", "expected KIND:TARGET such as jsonl:events.jsonl"),
        ("jsonl:", "expected KIND:TARGET"),
        ("http://u:hunter2@h/x", "kinds are jsonl, csv, files, webhook, apprise"),
        ("webhook:ftp://u:hunter2@h/x", "sink webhook: url: expected an address such as http"),
        ("apprise:mail", "expected an Apprise address such as mailto"),
        ("apprise:nosuch://hunter2", "Apprise cannot send to this nosuch://"),
        ({"kind": "webhook", "ulr": "http://h", "secret": "hunter2"}, "unknown key 'ulr': did you mean 'url'"),
        ({"kind": "webhook", "url": "http://h", "when": ["maybe"]}, "when.0: Input should be 'opened' or 'closed'"),
        ({"kind": "webhok"}, "unknown sink 'webhok': did you mean 'webhook'"),
        ({"path": "x"}, "it needs `kind`"),
        ({"kind": "csv", "path": "x", "name": "a/b"}, "name: String should match"),
    ],
)
def test_what_cannot_be_read_is_said_without_secrets(said, text):
    with pytest.raises(ConfigError) as error:
        open_sinks([said], environment={})
    assert text in str(error.value) and "hunter2" not in str(error.value)


def test_two_of_one_name():
    with pytest.raises(ConfigError, match="two sinks are called"):
        open_sinks(["csv:a.csv", "csv:a.csv"])
