import json
import os

import pytest

from offnormal.sinks.files import EventFilesOptions, EventFilesSink
from offnormal.testing.events import message


@pytest.mark.parametrize("links", [True, False])
def test_an_event_is_stored_with_its_images(tmp_path, monkeypatch, links):
    if not links:

        def never(*_):
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", never)
    media = tmp_path / "media"
    media.mkdir()
    for name in ("s.jpg", "h.jpg", "c.mp4"):
        (media / name).write_text(name)
    sent = message(0, folder=media, camera="porch/left", snapshot="s.jpg", heat_map="h.jpg", clip="c.mp4")
    sink = EventFilesSink(EventFilesOptions(folder=tmp_path / "out"))
    sink.deliver(sent)
    sink.deliver(sent)
    folder = tmp_path / "out/2026-11-21/porch_left"
    stem = sent.event.id
    assert {path.name: path.read_text() for path in folder.iterdir() if path.suffix != ".json"} == {
        f"{stem}.jpg": "s.jpg",
        f"{stem}-heat.jpg": "h.jpg",
        f"{stem}.mp4": "c.mp4",
    }
    assert json.loads((folder / f"{stem}.json").read_text())["id"] == sent.id
