import pytest

from offnormal.errors import DataError
from offnormal.sinks.base import Message, Sink, SinkOptions
from offnormal.testing.events import event, message


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
