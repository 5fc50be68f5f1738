import pytest

from offnormal.errors import ConfigError, DataError
from offnormal.sinks.base import CallbackSink, Message, Sink, SinkOptions
from offnormal.sinks.dispatcher import Dispatcher
from offnormal.sinks.open import open_sinks
from offnormal.testing.events import event, message
from tests.sinks.hook import hook
from tests.sinks.test_dispatcher import FAST

MAIL = "mailto://u:hunter2@mail.example.org?to=a@example.org"


class Plain(Sink):
    Options, target_option, description = SinkOptions, "name", "plain"

    def deliver(self, message):
        pass


def test_a_message_is_named_after_its_event_and_transition():
    assert message(3).id == f"{event(3).id}-closed" and message(3, state="open").id == f"{event(3).id}-opened"


def test_files_are_resolved_in_the_folder_if_they_exist(tmp_path):
    (tmp_path / "s.jpg").write_bytes(b"x")
    sent = message(folder=tmp_path, snapshot="s.jpg", clip="gone.mp4")
    assert sent.file("snapshot") == tmp_path / "s.jpg"
    assert sent.file("clip") is None and sent.file("heat_map") is None
    assert message(snapshot="s.jpg").file("snapshot") is None, "there is no folder"


def test_a_message_survives_json_and_another_format_is_refused(tmp_path):
    sent = message(2, folder=tmp_path, problems=("clip: the disk is full",))
    assert Message.from_json(sent.to_json(), tmp_path) == sent
    values = sent.to_json()
    values["event"]["format_version"] = 99
    with pytest.raises(DataError, match="format 99"):
        Message.from_json(values)


def test_a_sink_gets_closed_events_unless_others_are_chosen():
    assert Plain(SinkOptions()).transitions == ("closed",)
    assert Plain(SinkOptions(when=["opened"])).transitions == ("opened",)


def test_a_function_gets_opened_and_closed_events_in_order(tmp_path):
    received = []
    with Dispatcher({"callback": CallbackSink(received.append)}, tmp_path / "s.db", **FAST) as dispatcher:
        for state in ("open", "closed"):
            dispatcher.send(event(1, state=state))
        assert dispatcher.drain(20)
    assert received == [event(1, state="open"), event(1)]


def test_an_event_is_sent_again_if_the_function_fails(tmp_path):
    attempts = []

    def fail_once(received):
        attempts.append(received.id)
        if len(attempts) == 1:
            raise RuntimeError("not ready")

    with Dispatcher({"callback": CallbackSink(fail_once)}, tmp_path / "s.db", **FAST) as dispatcher:
        dispatcher.send(event(1))
        assert dispatcher.drain(20)
    assert attempts == [event(1).id] * 2


def test_sinks_are_parsed_from_command_line_text(tmp_path):
    settings = [
        f"jsonl:{tmp_path}/e.jsonl",
        "csv:e.csv",
        f"files:{tmp_path}",
        "webhook:http://u:pw@127.0.0.1:9/hook?x=1",
    ]
    sinks = open_sinks([*settings, f"apprise:{MAIL}"], environment={})
    assert [sink.description.split()[0] for sink in sinks.values()] == ["jsonl", "csv", "files", "webhook", "alert"]
    assert [sink.transitions for sink in sinks.values()] == [("closed",)] * 3 + [("opened", "closed"), ("opened",)]
    assert not any("pw" in sink.description or "hunter2" in sink.description for sink in sinks.values())


def test_names_do_not_depend_on_the_password():
    names = [list(open_sinks([f"webhook:http://u:{pw}@h/x"], environment={})) for pw in ("one", "two")]
    assert names[0] == names[1] != list(open_sinks(["webhook:http://u:one@h/y"], environment={}))
    assert list(open_sinks([{"kind": "csv", "path": "a.csv", "name": "table"}])) == ["table"]


def test_the_secret_can_come_from_the_environment():
    with hook() as server:
        (sink,) = open_sinks([f"webhook:{server.url}"], {"OFFNORMAL_WEBHOOK_SECRET": "s"}).values()
        sink.deliver(message())
        assert server.posts[0][0]["X-Offnormal-Signature"].startswith("sha256=")


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("josnl:hunter2", "sink 'josnl:': did you mean jsonl:"),
        ("aprise:tgram://hunter2/chat", "sink 'aprise:': did you mean apprise:"),
        ("jsonl", "expected KIND:TARGET such as jsonl:events.jsonl"),
        ("jsonl:", "expected KIND:TARGET"),
        ("http://u:hunter2@h/x", "kinds are jsonl, csv, files, webhook, apprise"),
        ("webhook:ftp://u:hunter2@h/x", "sink webhook: url: expected a URL such as http"),
        ("apprise:mail", "expected an Apprise address such as mailto"),
        ("apprise:nosuch://hunter2", "Apprise cannot send to this nosuch://"),
        ({"kind": "webhook", "ulr": "http://h", "secret": "hunter2"}, "unknown key 'ulr': did you mean 'url'"),
        ({"kind": "webhook", "url": "http://h", "when": ["maybe"]}, "when.0: Input should be 'opened' or 'closed'"),
        ({"kind": "webhok"}, "unknown sink 'webhok': did you mean 'webhook'"),
        ({"path": "x"}, "`kind` is missing"),
        ({"kind": "csv", "path": "x", "name": "a/b"}, "name: String should match"),
    ],
)
def test_errors_about_settings_contain_no_secrets(setting, text):
    with pytest.raises(ConfigError) as error:
        open_sinks([setting], environment={})
    assert text in str(error.value) and "hunter2" not in str(error.value)


def test_two_sinks_with_one_name_are_refused():
    with pytest.raises(ConfigError, match="two sinks are named"):
        open_sinks(["csv:a.csv", "csv:a.csv"])


@pytest.mark.parametrize(
    "start", ["ftp://me:hunter2@h/", "hooks.example/", "https://h:port/", "http s://u:p@h/?key=1&x="]
)
def test_a_wrong_address_of_a_webhook_is_not_in_the_message(start):
    for setting in (f"webhook:{start}h00kpath", {"kind": "webhook", "url": f"{start}h00kpath"}):
        with pytest.raises(ConfigError, match="sink webhook: url: expected") as error:
            open_sinks([setting], environment={})
        assert "h00kpath" not in str(error.value) and "hunter2" not in str(error.value)
