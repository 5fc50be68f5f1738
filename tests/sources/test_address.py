import pytest

from offnormal.errors import UsageError
from offnormal.redact import redact
from offnormal.sources.address import Address


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:pass@10.0.0.7:554/ch1", "rtsp://***@10.0.0.7:554/ch1"),
        ("rtsp://admin:p@ss:w@cam/ch1", "rtsp://***@cam/ch1"),
        ("rtsp://admin@cam/ch1", "rtsp://***@cam/ch1"),
        ("rtsp://cam/ch1?user=a&password=b&channel=2", "rtsp://cam/ch1?user=***&password=***&channel=2"),
        ("http://cam/x?loginpwd=b;stream=1&apikey=", "http://cam/x?loginpwd=***;stream=1&apikey=***"),
        ("http://cam/a@b?to=x@y", "http://cam/a@b?to=x@y"),
        ("refused: http://a:b@c/d and rtsp://e:f@g/h", "refused: http://***@c/d and rtsp://***@g/h"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_credentials_are_hidden_and_nothing_else_is(text, shown):
    assert redact(text) == shown
    assert redact(f"{shown}: broken") == f"{shown}: broken"


def test_an_address_shows_no_credentials_anywhere():
    address = Address.parse("rtsp://admin:geh%40eim@cam/ch1")
    assert "geh" not in f"{address} {address!r} {[address]}"
    for spelled in ("admin:geh%40eim", "geh@eim", "geh%40eim", "rtsp://admin:geh%40eim@cam/ch1"):
        assert "geh" not in address.scrub(f"401 for {spelled}!")


@pytest.mark.parametrize(
    ("text", "kind", "target"),
    [
        ("rtsp://cam/1", "rtsp", "rtsp://cam/1"),
        ("RTSPS://cam/1", "rtsp", "RTSPS://cam/1"),
        ("https://cam/1.m3u8", "http", "https://cam/1.m3u8"),
        ("/dev/video12", "device", "/dev/video12"),
        ("v4l2:/dev/v4l/by-id/usb", "device", "/dev/v4l/by-id/usb"),
    ],
)
def test_kinds_are_told_by_what_is_written(text, kind, target):
    found = Address.parse(text)
    assert (found.kind, found.target, found.lasts) == (kind, target, True)


@pytest.mark.parametrize("login", ["admin:pa/ss", "admin:pa?ss", "admin:pa#ss", "admin:12/ss", ":ss/ss"])
def test_passwords_that_end_the_host_are_refused_and_not_shown(login):
    with pytest.raises(UsageError, match="expected them as %2F") as found:
        Address.parse(f"rtsp://{login}@10.0.0.5/1")
    assert "ss" not in str(found.value).partition("expected")[0] and "12" not in str(found.value)


@pytest.mark.parametrize(
    "text", ["http://cam:80/a@b?to=x@y", "http://cam/a@b", "rtsp://u:p@cam:554/a@b", "http://[::1]/@"]
)
def test_an_at_sign_in_a_path_is_none_of_a_login(text):
    assert Address.parse(text).target == text


def test_files_and_folders_are_looked_for(tmp_path):
    video = tmp_path / "a b.mp4"
    video.touch()
    assert Address.parse(str(video)).kind == "file"
    assert not Address.parse(str(video)).lasts
    assert Address.parse(str(tmp_path)).kind == "folder"


@pytest.mark.parametrize("text", ["ftp://u:secret@cam/1", "rtsp://", "http:///x", "rtsp://[", "", "nothing.mp4"])
def test_other_names_are_refused_without_credentials(text):
    with pytest.raises(UsageError, match="expected") as found:
        Address.parse(text)
    assert "secret" not in str(found.value)
