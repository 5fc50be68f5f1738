import pytest

from offnormal.errors import ConfigError
from offnormal.sinks.open import open_sinks
from offnormal.testing.events import message
from tests.sinks.hook import hook

MAIL = "mailto://u:hunter2@mail.example.org?to=a@example.org"


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
        ({"kind": "webhok"}, "no sink is called 'webhok': did you mean 'webhook'"),
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
