import doctest
import os
import socket

import numpy as np
import pytest
from PIL import Image

from offnormal.errors import DataError, VideoError
from offnormal.sources import reader as reader_module
from offnormal.sources.frame_folder import FrameFolder
from offnormal.sources.video import VideoReader, is_frame_folder, is_video, open_video, videos_in
from offnormal.sources.video_file import VideoFile
from tests.video_files import cut, numbered, write_sound, write_video


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", numbered(5))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "frames").mkdir()
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "frames" / "1.png")
    return tmp_path / "frames"


def test_doctests():
    assert doctest.testmod(reader_module).failed == 0


def test_files_and_folders_are_opened_by_what_they_are(clip, folder):
    for place, kind in ((clip, VideoFile), (str(clip), VideoFile), (folder, FrameFolder)):
        with open_video(place) as reader:
            assert isinstance(reader, kind)
            assert isinstance(reader, VideoReader)
            assert reader.warnings == []
    assert open_video(folder, fps=5, bits=12).info.fps == 5


def test_a_rate_or_bits_for_a_file_are_refused(clip):
    for given in ({"fps": 5}, {"bits": 12}):
        with pytest.raises(VideoError, match="for folders of frames only"):
            open_video(clip, **given)


@pytest.mark.parametrize("name", ["ä ö.mp4", "a:b?c#d%03d.mp4", "-x.mp4", "concat:x.mp4", "[1].mp4"])
def test_names_are_names_and_nothing_more(tmp_path, clip, name, monkeypatch):
    if os.sep == "\\" and set(name) & set(":?"):
        pytest.skip("no such names here")
    clip.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path / name, name):
        assert len(list(open_video(place).frames())) == 5


def test_a_file_without_a_known_suffix_is_opened_too(clip, tmp_path):
    clip.rename(tmp_path / "recording")
    assert open_video(tmp_path / "recording").info.frames == 5


def test_what_is_no_video_is_an_error_that_names_it_and_says_what_it_is(tmp_path, clip):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video " * 50)
    (tmp_path / "notes.txt").write_text("no video either\n" * 50)
    (tmp_path / "noise.avi").write_bytes(np.random.default_rng(0).bytes(5000))
    write_sound(tmp_path / "sound.mp4")
    cut(clip, tmp_path / "unfinished.mp4", 0.5)
    (tmp_path / "nothing").mkdir()
    for name, words in {
        "missing.mp4": "no such file; expected a video file or a folder",
        "empty.mp4": "the file is empty",
        "text.mp4": "not a video that can be read",
        "notes.txt": "no video stream",
        "noise.avi": "not a video that can be read",
        "sound.mp4": r"no video stream \(found: audio\)",
        "unfinished.mp4": "cut off before its index",
        "nothing": "a folder without pictures",
    }.items():
        with pytest.raises(VideoError, match=words) as error:
            open_video(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name))
        assert isinstance(error.value, DataError)


def test_a_playlist_does_not_reach_the_network(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        (tmp_path / "list.m3u8").write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{address}\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(VideoError, match=r"list\.m3u8"):
            open_video(tmp_path / "list.m3u8")
        with pytest.raises(BlockingIOError):  # nobody called
            server.accept()


def test_videos_of_a_folder_are_listed_in_natural_order(tmp_path):
    for name in ("10.mp4", "2.AVI", "1.mkv", "._1.mp4", "notes.txt", "1.npy", "sub/3.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert [path.name for path in videos_in(tmp_path)] == ["1.mkv", "2.AVI", "10.mp4"]
    assert not is_video(tmp_path / "1.png")


def test_a_folder_of_frames_holds_pictures_directly(tmp_path, folder):
    assert is_frame_folder(folder)
    assert not is_frame_folder(tmp_path)
    assert not is_frame_folder(folder / "1.png")
    assert not is_frame_folder(tmp_path / "missing")
