import doctest
import os
import socket

import numpy as np
import pytest
from PIL import Image

from offnormal.errors import DataError, VideoError
from offnormal.sources import video
from offnormal.sources.paths import is_frame_folder, is_video, videos_in
from offnormal.sources.video import FrameFolder, VideoFile, VideoReader, open_video
from offnormal.types import InputSpec
from tests.video_files import cut, numbered, write_sound, write_video

RNG = np.random.default_rng(0)


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", numbered(5))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "frames").mkdir()
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "frames" / "1.png")
    return tmp_path / "frames"


def test_doctests():
    assert doctest.testmod(video).failed == 0


def test_files_and_folders_get_their_reader(clip, folder):
    for path, kind in ((clip, VideoFile), (str(clip), VideoFile), (folder, FrameFolder)):
        with open_video(path) as reader:
            assert isinstance(reader, kind)
            assert isinstance(reader, VideoReader)
            assert reader.warnings == []
    assert open_video(folder, fps=5).info.fps == 5


def test_a_rate_does_not_replace_the_timestamps_of_a_file(clip):
    times = [frame.time_s for frame in open_video(clip).frames()]
    with open_video(clip, fps=5) as reader:
        assert reader.info.fps == 25 and [frame.time_s for frame in reader.frames()] == times


@pytest.mark.parametrize("name", ["bare.h264", "bare.mjpeg"])
def test_a_bare_stream_needs_a_rate_for_times(tmp_path, name):
    path = write_video(tmp_path / name, numbered(6), fps=10, codec="mjpeg" if "mjpeg" in name else "libx264")
    with open_video(path) as reader:
        assert (reader.info.fps, reader.info.duration_s, reader.times()) == (None, None, [None] * 6)
        assert [(frame.index, frame.time_s) for frame in reader.frames()] == [(index, None) for index in range(6)]
        with pytest.raises(VideoError, match="has no clock; set its frame rate"):
            reader.thinned(0.2)
    with open_video(path, fps=10) as reader:
        assert reader.info.fps == 10
        for times in (reader.times(), [frame.time_s for frame in reader.frames()]):
            np.testing.assert_allclose(times, np.arange(6) / 10)
        assert reader.frame(3).time_s == pytest.approx(0.3)
        assert [frame.index for frame in reader.thinned(0.2)] == [0, 2, 4]
    for fps in (0, -1, float("inf")):
        with pytest.raises(VideoError, match="expected a number above 0"):
            open_video(path, fps=fps)


@pytest.mark.parametrize("name", ["ä ö.mp4", "a:b?c#d%03d.mp4", "-x.mp4", "concat:x.mp4", "[1].mp4"])
def test_special_characters_in_names_have_no_meaning(tmp_path, clip, name, monkeypatch):
    if os.sep == "\\" and set(name) & set(":?"):
        pytest.skip("no such names here")
    clip.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / name, name):
        assert len(list(open_video(path).frames())) == 5


def test_a_file_without_a_video_suffix_is_opened(clip, tmp_path):
    clip.rename(tmp_path / "recording")
    assert open_video(tmp_path / "recording").info.frames == 5


def test_errors_name_the_path_and_its_problem(tmp_path, clip):
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
        "text.mp4": "not a readable video",
        "notes.txt": "no video stream",
        "noise.avi": "not a readable video",
        "sound.mp4": r"no video stream \(found: audio\)",
        "unfinished.mp4": "interrupted before its index",
        "nothing": "a folder without images",
    }.items():
        with pytest.raises(VideoError, match=words) as error:
            open_video(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name))
        assert isinstance(error.value, DataError)


def test_a_playlist_cannot_reach_the_network(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        (tmp_path / "list.m3u8").write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{address}\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(VideoError, match=r"list\.m3u8"):
            open_video(tmp_path / "list.m3u8")
        with pytest.raises(BlockingIOError):  # no connection
            server.accept()


def test_videos_of_a_folder_come_in_natural_order(tmp_path):
    for name in ("10.mp4", "2.AVI", "1.mkv", "._1.mp4", "notes.txt", "1.npy", "sub/3.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert [path.name for path in videos_in(tmp_path)] == ["1.mkv", "2.AVI", "10.mp4"]
    assert not is_video(tmp_path / "1.png")


def test_a_frame_folder_contains_images_directly(tmp_path, folder):
    assert is_frame_folder(folder)
    assert not is_frame_folder(tmp_path)
    assert not is_frame_folder(folder / "1.png")
    assert not is_frame_folder(tmp_path / "missing")


def write(folder, *names, size=(6, 8)):
    folder.mkdir(exist_ok=True)
    images = [RNG.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in names]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / name)
    return images


@pytest.mark.parametrize(
    "names", [("0.png", "1.png", "10.png"), ("1.bmp", "2.png", "10.tif"), ("f7.png", "f10.png", "g1.png")]
)
def test_the_position_in_natural_order_is_the_index(tmp_path, names):
    images = write(tmp_path / "v", *names)
    times = list(FrameFolder(tmp_path / "v").frames())
    assert [frame.index for frame in times] == [0, 1, 2]
    for frame, image in zip(times, images, strict=True):
        np.testing.assert_array_equal(frame.image, image)


def test_info_of_a_frame_folder(tmp_path):
    write(tmp_path / "v", *(f"{i}.png" for i in range(10)))
    (tmp_path / "v" / "Thumbs.db").write_text("")
    (tmp_path / "v" / "._1.png").write_text("")
    without, timed = FrameFolder(tmp_path / "v").info, FrameFolder(tmp_path / "v", fps=4).info
    assert (without.frames, without.exact, without.size, without.fps, without.duration_s) == (
        10,
        True,
        (6, 8),
        None,
        None,
    )
    assert (timed.fps, timed.duration_s) == (4, 2.5)


def test_times_of_a_frame_folder_come_only_from_the_rate(tmp_path):
    write(tmp_path / "v", *(f"{i}.png" for i in range(4)))
    assert [frame.time_s for frame in FrameFolder(tmp_path / "v").frames()] == [None] * 4
    assert [frame.time_s for frame in FrameFolder(tmp_path / "v", fps=4).frames(1)] == [0.25, 0.5, 0.75]


def test_ranges_and_single_frames_equal_reading_in_order(tmp_path):
    images = write(tmp_path / "v", *(f"{i}.png" for i in range(7)))
    reader = FrameFolder(tmp_path / "v")
    assert [frame.index for frame in reader.frames(2, 5)] == [2, 3, 4]
    assert list(reader.frames(9)) == [] == list(reader.frames(3, 3))
    for index in (6, 0, 3):
        np.testing.assert_array_equal(reader.frame(index).image, images[index])
    for index, words in ((7, "expected 0 to 6"), (-1, "expected an index of 0 or more")):
        with pytest.raises(VideoError, match=words):
            reader.frame(index)
    with pytest.raises(VideoError, match="expected an index of 0 or more"):
        reader.frames(-1)


def test_thinned_reads_only_the_first_frame_of_each_interval(tmp_path):
    write(tmp_path / "v", *(f"{i}.png" for i in range(20)))
    (tmp_path / "v" / "3.png").write_bytes(b"")  # between two that are read
    assert [frame.index for frame in FrameFolder(tmp_path / "v", fps=10).thinned(0.5)] == [0, 5, 10, 15]
    with pytest.raises(VideoError, match="has no clock; set its frame rate"):
        FrameFolder(tmp_path / "v").thinned(0.5)
    with pytest.raises(VideoError, match="above 0"):
        FrameFolder(tmp_path / "v", fps=10).thinned(0)


def test_16_bit_frames_are_scaled_by_the_significant_bits_of_the_folder(tmp_path):
    (tmp_path / "v").mkdir()
    for i in range(40):
        values = np.full((2, 3), 100 + 99 * i, np.uint16)  # up to 3961: 12 bits, the first ones less
        Image.fromarray(values).save(tmp_path / "v" / f"{i}.png")
    reader = FrameFolder(tmp_path / "v")
    assert reader.levels == (0, 4095)
    assert reader.frame(39).image.dtype == np.uint8
    assert reader.frame(39).image[0, 0].tolist() == [round(3961 / 4095 * 255)] * 3
    np.testing.assert_allclose(reader.frame(39).deep[0, 0], [3961 / 4095] * 3, rtol=1e-6)
    wide = FrameFolder(tmp_path / "v", spec=InputSpec(size=(2, 3), levels=(0, 65535)))
    assert wide.frame(39).image[0, 0, 0] == round(3961 / 65535 * 255)
    assert wide.notes[0].startswith("dark values: values from 100 to ")
    assert FrameFolder(tmp_path / "v", spec=InputSpec(size=(2, 3), levels=(0, 4095))).notes == []


def test_gray_and_palette_frames_become_rgb(tmp_path):
    write(tmp_path / "v", "1.png")
    Image.fromarray(np.full((6, 8), 77, np.uint8)).save(tmp_path / "v" / "2.tif")
    assert FrameFolder(tmp_path / "v").frame(1).image.tolist() == np.full((6, 8, 3), 77).tolist()


def test_errors_name_empty_folders_bad_images_and_other_sizes(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match=r"empty: a folder without images; expected"):
        FrameFolder(tmp_path / "empty")
    write(tmp_path / "v", "1.png", "2.png")
    write(tmp_path / "v", "3.png", size=(8, 6))
    reader = FrameFolder(tmp_path / "v")
    with pytest.raises(VideoError, match=r"3\.png: 8x6 pixels, but 1\.png has 6x8"):
        list(reader.frames())
    (tmp_path / "v" / "2.png").write_bytes((tmp_path / "v" / "2.png").read_bytes()[:60])
    with pytest.raises(VideoError, match=r"2\.png: damaged or truncated"):
        list(reader.frames())
    (tmp_path / "v" / "1.png").write_text("no image")
    with pytest.raises(VideoError, match=r"1\.png: not a readable image"):
        FrameFolder(tmp_path / "v")


@pytest.mark.parametrize("fps", [0, -1.0, float("nan")])
def test_an_invalid_rate_is_refused(tmp_path, fps):
    write(tmp_path / "v", "1.png")
    with pytest.raises(VideoError, match="expected a number above 0"):
        FrameFolder(tmp_path / "v", fps=fps)
