import doctest
import os
import random
from pathlib import Path

import pytest

from offnormal.errors import UsageError
from offnormal.redact import redact
from offnormal.sources import paths
from offnormal.sources.paths import (
    Address,
    images_in,
    is_frame_folder,
    is_image,
    is_video,
    natural_key,
    to_local_path,
    videos_below,
    videos_in,
)


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names(file_paths, root):
    return [path.relative_to(root).as_posix() for path in file_paths]


def test_doctests():
    assert doctest.testmod(paths).failed == 0


def test_numbers_sort_by_value_folder_by_folder():
    ordered = ["a/1.png", "a/2.png", "a/10.png", "a/b2/1.png", "a/b10/1.png", "B/1.png", "c/x9y2.png", "c/x9y10.png"]
    for seed in range(5):
        shuffled = random.Random(seed).sample(ordered, len(ordered))
        assert [path.as_posix() for path in sorted(map(Path, shuffled), key=natural_key)] == ordered


def test_equal_numbers_and_letters_have_a_fixed_order():
    tied = [Path(name) for name in ("1.png", "01.png", "001.png", "a.png", "A.png", "Straße.png", "strasse.png")]
    backwards = tied[::-1]
    assert sorted(tied, key=natural_key) == sorted(backwards, key=natural_key)
    assert len({natural_key(path) for path in tied}) == len(tied)


def test_names_with_non_decimal_digits_sort(tmp_path):
    assert sorted([Path("²x.png"), Path("٣.png"), Path("2.png")], key=natural_key)[0] == Path("2.png")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.png", True), ("a.JPEG", True), ("a.b.tif", True), ("._a.jpg", False), (".png", False), ("a.txt", False)],
)
def test_is_image(name, expected):
    assert is_image(Path(name)) is expected


def test_folders_are_searched_recursively_except_hidden_ones(tmp_path):
    make(tmp_path, "2.png", "10.png", "sub/deep/1.jpg", "._2.png", ".thumbs/1.png", "sub/.cache/1.png", "notes.txt")
    (tmp_path / "folder.png").mkdir()
    assert names(images_in(tmp_path), tmp_path) == ["2.png", "10.png", "sub/deep/1.jpg"]
    assert names(images_in(tmp_path, recursive=False), tmp_path) == ["2.png", "10.png"]


def test_a_folder_below_a_hidden_one_can_be_searched(tmp_path):
    make(tmp_path, ".data/good/1.png")
    assert names(images_in(tmp_path / ".data"), tmp_path) == [".data/good/1.png"]


@pytest.mark.skipif(os.sep == "\\", reason="backslashes are separators here")
def test_a_windows_path_is_converted_if_it_exists(tmp_path, monkeypatch):
    make(tmp_path, "a/b/1.png", "c\\d.png", "c/d.png")
    monkeypatch.chdir(tmp_path)
    assert to_local_path("a\\b") == to_local_path(Path("a\\b")) == Path("a/b")
    assert to_local_path("c\\d.png") == Path("c\\d.png")
    assert to_local_path("no\\such") == Path("no\\such")


@pytest.mark.parametrize("name", ["a.mp4", "b c.AVI", "x.mkv", "x.MOV", "x.ts"])
def test_videos_are_recognized_by_suffix(tmp_path, name):
    assert is_video(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.gif", "mp4", "._a.mp4", "a.mp4.part"])
def test_other_and_hidden_files_are_not_videos(tmp_path, name):
    assert not is_video(tmp_path / name)


def test_videos_are_listed_in_natural_order(tmp_path):
    make(tmp_path, "10.mp4", "2.avi", ".3.mp4", "day 2/1.mp4", ".trash/4.mp4", "5.png")
    (tmp_path / "folder.mp4").mkdir()
    assert [path.name for path in videos_in(tmp_path)] == ["2.avi", "10.mp4"]
    names = [path.relative_to(tmp_path).as_posix() for path in videos_in(tmp_path, recursive=True)]
    assert names == ["2.avi", "10.mp4", "day 2/1.mp4"]


def test_a_frame_folder_contains_images_and_no_video(tmp_path):
    make(tmp_path, "a/1.png", "b/1.png", "b/1.mp4", "c/d/1.png", "e/._1.png")
    assert [is_frame_folder(tmp_path / name) for name in "abcex"] == [True, False, False, False, False]
    assert not is_frame_folder(tmp_path / "a/1.png")


def test_videos_below_includes_files_and_frame_folders_at_any_depth(tmp_path):
    make(tmp_path, "day 10/a.mp4", "day 2/north/1.png", "day 2/north/2.png", "z.avi", ".old/a.mp4", "empty/notes.txt")
    names = [path.relative_to(tmp_path).as_posix() for path in videos_below(tmp_path)]
    assert names == ["day 2/north", "day 10/a.mp4", "z.avi"]


@pytest.mark.parametrize(
    ("text", "redacted"),
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
def test_only_credentials_are_hidden(text, redacted):
    assert redact(text) == redacted
    assert redact(f"{redacted}: broken") == f"{redacted}: broken"


def test_an_address_never_shows_credentials():
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
def test_the_kind_of_an_address_follows_from_its_form(text, kind, target):
    address = Address.parse(text)
    assert (address.kind, address.target, address.is_endless) == (kind, target, True)


@pytest.mark.parametrize("login", ["admin:pa/ss", "admin:pa?ss", "admin:pa#ss", "admin:12/ss", ":ss/ss"])
def test_unescaped_passwords_are_refused_and_not_shown(login):
    with pytest.raises(UsageError, match="expected the URL with") as error:
        Address.parse(f"rtsp://{login}@10.0.0.5/1")
    assert "ss" not in str(error.value).partition("expected")[0] and "12" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["http://cam:80/a@b?to=x@y", "http://cam/a@b", "rtsp://u:p@cam:554/a@b", "http://[::1]/@"]
)
def test_an_at_sign_in_a_path_is_not_a_login(text):
    assert Address.parse(text).target == text


def test_addresses_of_files_and_folders_are_distinguished(tmp_path):
    video = tmp_path / "a b.mp4"
    video.touch()
    assert Address.parse(str(video)).kind == "file"
    assert not Address.parse(str(video)).is_endless
    assert Address.parse(str(tmp_path)).kind == "folder"


@pytest.mark.parametrize("text", ["ftp://u:secret@cam/1", "rtsp://", "http:///x", "rtsp://[", "", "nothing.mp4"])
def test_other_addresses_are_refused_without_credentials(text):
    with pytest.raises(UsageError, match="expected") as error:
        Address.parse(text)
    assert "secret" not in str(error.value)
