import logging
import os
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from offnormal.errors import VideoError
from offnormal.sources.cursor import Cursor
from offnormal.sources.video import FrameFolder, VideoFile
from tests.video_files import cut, number_in, numbered, write_video

H265 = {"x265-params": "log-level=0:keyint=12:open-gop=1"}
KINDS = {  # name -> options of the writer; each is hard to seek in for another reason
    "b-frames.mp4": {"bframes": 2},
    "no-b-frames.mp4": {},
    "open-gop.mp4": {"bframes": 2, "options": {"x264-params": "open-gop=1:scenecut=0"}},
    "intra-refresh.mkv": {"options": {"x264-params": "intra-refresh=1:keyint=12"}},
    "one-gop.mkv": {"bframes": 2, "gop": 500},
    "starts-late.ts": {"bframes": 2},
    "h265.mkv": {"codec": "libx265", "bframes": 2, "options": H265},
    "mpeg2.mpg": {"codec": "mpeg2video", "bframes": 2},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4-b-frames.avi": {"codec": "mpeg4", "bframes": 2},
    "without-times.avi": {"bframes": 2},  # H.264 in AVI: times come out wrong
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "all-key.avi": {"codec": "mjpeg"},
    "cannot-seek.h264": {"bframes": 2},  # a bare stream without a rate
}
COUNT = 70  # more than the probed frames


def in_order(path):
    return list(VideoFile(path, fps=25).frames())


def numbers(frames):
    return [number_in(frame.image) for frame in frames]


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_comes_once_in_order_with_its_index_and_time(tmp_path, name):
    frames = in_order(write_video(tmp_path / name, numbered(COUNT), **KINDS[name]))
    assert [frame.index for frame in frames] == numbers(frames) == list(range(COUNT))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(COUNT) / 25, atol=1e-3)


@pytest.mark.parametrize("name", KINDS)
def test_any_frame_in_any_order_equals_reading_in_order(tmp_path, name):
    path = write_video(tmp_path / name, noisy(COUNT), **KINDS[name])
    expected = in_order(path)
    with VideoFile(path, fps=25) as reader:
        for index in random.Random(0).sample(range(COUNT), 40):
            frame = reader.frame(index)
            assert (frame.index, frame.time_s) == (index, expected[index].time_s)
            np.testing.assert_array_equal(frame.image, expected[index].image)
        for start in (1, 11, 12, 13, 65, 69):
            for frames in reader.frames(start, start + 3):
                np.testing.assert_array_equal(frames.image, expected[frames.index].image)
            assert [f.index for f in reader.frames(start, start + 3)] == list(range(start, min(start + 3, COUNT)))
        assert reader.warnings == []


def test_times_that_change_after_a_seek_are_detected(tmp_path):
    path = write_video(tmp_path / "x.mpg", numbered(100), codec="mpeg2video", bframes=2)  # several frames a packet
    with VideoFile(path) as reader:
        assert [number_in(reader.frame(i).image) for i in (99, 50, 51, 3, 97)] == [99, 50, 51, 3, 97]
        assert numbers(reader.frames(66, 90)) == list(range(66, 90))


def noisy(count, *, size=(48, 64)):
    """Frames of independent noise, so that no frame resembles another."""
    rng = np.random.default_rng(0)
    return [
        np.kron(rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        for _ in range(count)
    ]


@pytest.mark.parametrize("name", KINDS)
def test_thinned_frames_equal_those_selected_from_all_frames(tmp_path, name):
    path = write_video(tmp_path / name, noisy(COUNT), **KINDS[name])
    expected = {}
    for frame in in_order(path):
        expected.setdefault(int((frame.time_s + 1e-6) / 0.3), frame)
    frames = list(VideoFile(path, fps=25).thinned(0.3))
    assert [frame.index for frame in frames] == [frame.index for frame in expected.values()]
    for frame, expected_frame in zip(frames, expected.values(), strict=True):
        np.testing.assert_array_equal(frame.image, expected_frame.image)


def test_thinned_does_not_decode_between_keyframes(tmp_path, monkeypatch):
    path, decoded = write_video(tmp_path / "x.mp4", numbered(240), gop=10), []
    plain = Cursor._decode

    def counting(self, *args, **kwargs):
        for item in plain(self, *args, **kwargs):
            decoded.append(item)
            yield item

    reader = VideoFile(path)
    reader._timeline()
    monkeypatch.setattr(Cursor, "_decode", counting)
    assert numbers(reader.thinned(2.4)) == [0, 60, 120, 180]
    assert len(decoded) < 24


def test_info_of_a_video_file(tmp_path):
    info = VideoFile(write_video(tmp_path / "x.mp4", numbered(30), fps=12.5)).info
    assert (info.frames, info.exact, info.fps, info.size) == (30, True, 12.5, (48, 64))
    assert info.duration_s == pytest.approx(2.4)
    info = VideoFile(write_video(tmp_path / "x.mkv", numbered(30), fps=12.5)).info
    assert (info.frames, info.exact, info.fps) == (30, False, 12.5)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_times_of_uneven_frames_are_counted_from_the_first(tmp_path, suffix):
    steps = np.random.default_rng(0).choice([0.02, 0.1, 1.5], COUNT)
    times = 3.2 + np.cumsum(steps)
    path = write_video(tmp_path / f"x{suffix}", numbered(COUNT), times=times, bframes=2)
    frames = in_order(path)
    assert numbers(frames) == list(range(COUNT))
    np.testing.assert_allclose([frame.time_s for frame in frames], times - times[0], atol=2e-3)
    with VideoFile(path) as reader:
        assert [reader.frame(i).time_s for i in (50, 3, 69)] == [frames[i].time_s for i in (50, 3, 69)]


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
@pytest.mark.parametrize("hflip", [False, True])
def test_frames_are_turned_upright(tmp_path, clockwise, hflip):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:16, :16], image[:16, -16:] = (255, 0, 0), (0, 0, 255)
    path = write_video(tmp_path / "x.mp4", [image] * 3, rotation=clockwise, hflip=hflip, pixels="yuv444p")
    expected = np.rot90(image, -clockwise // 90)
    expected = expected[:, ::-1] if hflip else expected
    with VideoFile(path) as reader:
        assert reader.info.size == expected.shape[:2]
        for frame in (next(reader.frames()), reader.frame(2)):
            assert np.abs(frame.image.astype(int) - expected).mean() < 4


@pytest.mark.parametrize(("tags", "matrix"), [((1, 1), "709"), ((5, 2), "601")])
def test_colors_follow_matrix_and_range(tmp_path, tags, matrix):
    luma = {"709": (63, 102, 240), "601": (76, 85, 255)}[matrix]  # red, limited BT.709 and full BT.601
    import av

    frame = av.VideoFrame(64, 48, "yuv420p")
    for plane, value in zip(frame.planes, luma, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = tags
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    image = in_order(tmp_path / "x.mp4")[0].image
    assert np.abs(image.astype(int) - (255, 0, 0)).max() <= 4


@pytest.mark.parametrize(("suffix", "share"), [(".mkv", 0.6), (".avi", 0.6), (".webm", 0.5)])
def test_a_truncated_file_yields_its_frames_and_a_warning(tmp_path, suffix, share, caplog):
    codec = "libvpx-vp9" if suffix == ".webm" else "mpeg4"
    path = write_video(tmp_path / f"x{suffix}", noisy(COUNT), codec=codec, fps=10)
    whole, reader = in_order(path), VideoFile(cut(path, tmp_path / f"part{suffix}", share))
    with caplog.at_level(logging.WARNING):
        frames = list(reader.frames())
    assert 20 < len(frames) < 60
    for frame, original in zip(frames[:-1], whole, strict=False):  # the last one may be incomplete
        np.testing.assert_array_equal(frame.image, original.image)
    assert reader.warnings[0].startswith(f"{reader.path}: truncated: ")
    assert reader.warnings[0] in caplog.messages
    list(reader.frames())
    assert len(reader.warnings) == len(set(reader.warnings))
    assert reader.frame(15).index == 15
    with pytest.raises(VideoError, match="the video ends before it"):
        reader.frame(COUNT - 1)


def test_an_mp4_truncated_after_its_index_yields_its_frames(tmp_path):
    path = write_video(tmp_path / "x.mov", noisy(COUNT), codec="mjpeg", options={"flags": "+bitexact"})
    content = bytearray(path.read_bytes())
    index = content[content.index(b"moov") - 4 :]
    data = content.index(b"mdat") - 4
    offsets = index.index(b"stco") + 12
    number = int.from_bytes(index[offsets - 4 : offsets], "big")
    for at in range(offsets, offsets + 4 * number, 4):  # the index moves before the data, so the chunk offsets grow
        index[at : at + 4] = (int.from_bytes(index[at : at + 4], "big") + len(index)).to_bytes(4, "big")
    fast = content[:data] + index + content[data : content.index(b"moov") - 4]
    (tmp_path / "part.mov").write_bytes(fast[: int(len(fast) * 0.6)])
    reader = VideoFile(tmp_path / "part.mov")
    assert reader.info.frames == COUNT
    assert 30 < len(list(reader.frames())) < 50
    assert f"of the {COUNT} frames" in reader.warnings[0]


def test_damaged_frames_leave_a_gap_and_the_others_keep_their_index(tmp_path):
    path = write_video(tmp_path / "x.avi", numbered(COUNT), codec="mjpeg")
    content = bytearray(path.read_bytes())
    chunks = [at for at in range(content.index(b"movi"), len(content)) if content[at : at + 4] == b"00dc"]
    for lost in (20, 21, 66):
        length = int.from_bytes(content[chunks[lost] + 4 : chunks[lost] + 8], "little")
        content[chunks[lost] + 8 : chunks[lost] + 8 + length] = bytes(length)
    path.write_bytes(content)
    reader, remaining = VideoFile(path), [i for i in range(COUNT) if i not in (20, 21, 66)]
    frames = list(reader.frames())
    assert [frame.index for frame in frames] == numbers(frames) == remaining
    assert reader.warnings == [f"{path}: damaged: 3 frames could not be decoded and are skipped, 0 show errors"]
    for index in (69, 40, 5, 22):
        assert number_in(reader.frame(index).image) == index
    with pytest.raises(VideoError, match=r"no frame 21 .*: it cannot be decoded"):
        reader.frame(21)
    assert [frame.index for frame in reader.frames(19, 24)] == [19, 22, 23]
    assert [frame.index for frame in reader.frames(66)] == [67, 68, 69]


def test_joined_recordings_have_one_clock_and_one_size(tmp_path):
    first = write_video(tmp_path / "1.ts", numbered(40))
    second = write_video(tmp_path / "2.ts", numbered(40, size=(96, 128)))
    (tmp_path / "x.ts").write_bytes(first.read_bytes() + second.read_bytes())
    reader = VideoFile(tmp_path / "x.ts")
    frames = list(reader.frames())
    assert [frame.index for frame in frames] == list(range(80))
    assert numbers(frames) == [*range(40), *range(40)]
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert all(0 < after.time_s - before.time_s < 0.1 for before, after in pairwise(frames))
    assert [warning.split(": ")[1] for warning in reader.warnings] == ["resized"]
    for index in (79, 39, 41, 0):
        assert reader.frame(index).time_s == frames[index].time_s
        np.testing.assert_array_equal(reader.frame(index).image, frames[index].image)


def test_indices_that_do_not_exist_are_errors(tmp_path):
    reader = VideoFile(write_video(tmp_path / "x.mp4", numbered(5)))
    for index, words in ((5, "ends before it"), (-1, "expected an index of 0 or more")):
        with pytest.raises(VideoError, match=words):
            reader.frame(index)
    with pytest.raises(VideoError, match="expected an index of 0 or more"):
        reader.frames(-1)
    assert list(reader.frames(5)) == list(reader.frames(3, 2)) == []
    with pytest.raises(VideoError, match="above 0"):
        reader.thinned(0)


def test_iterators_of_one_reader_are_independent(tmp_path):
    reader = VideoFile(write_video(tmp_path / "x.mp4", numbered(40), bframes=2))
    pairs = [
        (number_in(a.image), number_in(b.image), number_in(reader.frame(39 - a.index).image))
        for a, b in zip(reader.frames(), reader.frames(5), strict=False)
    ]
    assert pairs == [(i, i + 5, 39 - i) for i in range(35)]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are listed on Linux only")
def test_closed_iterators_and_readers_release_the_file(tmp_path):
    path = write_video(tmp_path / "x.mp4", numbered(40))

    def open_files():
        return sum(os.path.realpath(link) == str(path.resolve()) for link in Path("/proc/self/fd").iterdir())

    reader = VideoFile(path)
    assert open_files() == 0
    frames = reader.frames()
    next(frames)
    assert open_files() == 1
    frames.close()
    assert open_files() == 0
    with reader:
        reader.frame(3)
        assert open_files() == 1
    assert open_files() == 0
    assert reader.frame(3).index == 3  # opened again
    reader.close()
    for name in ("missing.mp4", "text.mp4"):
        (tmp_path / "text.mp4").write_text("no video")
        with pytest.raises(VideoError):
            VideoFile(tmp_path / name)
    assert open_files() == 0


def test_a_video_of_one_frame_is_read(tmp_path):
    path = write_video(tmp_path / "x.mp4", numbered(1))
    with VideoFile(path) as reader:
        assert [(frame.index, frame.time_s) for frame in reader.frames()] == [(0, 0.0)]
        assert reader.frame(0).index == 0
        assert len(list(reader.thinned(5))) == 1


@pytest.mark.realdata
def test_real_videos_have_as_many_frames_as_labels(real_data):
    mini = real_data / "video/avenue_mini"
    with np.load(mini / "gt.npz") as truth:
        for path in sorted((mini / "test").glob("*.mp4")):
            with VideoFile(path) as reader:
                assert reader.info.frames == sum(1 for _ in reader.frames()) == len(truth[f"frame_labels_{path.stem}"])
                assert (reader.info.size, reader.info.fps, reader.warnings) == ((180, 320), 25, [])
    upcam = VideoFile(real_data / "video/upcam/eval/00.mp4")
    indices = [frame.index for frame in upcam.frames()]
    rows = (real_data / "video/upcam/eval/00.csv").read_text().split()
    assert indices == list(range(18_066))
    assert len(rows) == 18_066
    assert upcam.warnings == []


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    [
        "avenue_mini/train/16.mp4",
        "avenue_mini/test/17.mp4",
        "avenue_mini/original_avi/test_21.avi",
        "ucsd_ped1_sample/Test003.avi",
    ],
)
def test_any_frame_of_real_footage_equals_reading_in_order(real_data, name):
    with VideoFile(real_data / "video" / name) as reader:
        expected = list(reader.frames())
        for index in random.Random(0).sample(range(len(expected)), 60):
            frame = reader.frame(index)
            assert frame.time_s == expected[index].time_s == pytest.approx(index / reader.info.fps)
            np.testing.assert_array_equal(frame.image, expected[index].image)


@pytest.mark.realdata
def test_an_hour_is_sought_and_thinned_without_reading_it_in_order(real_data):
    with VideoFile(real_data / "video/upcam/eval/00.mp4") as reader:
        near = {frame.index: frame.image for frame in reader.frames(9_000, 9_300)}
        for index in (9_299, 9_000, 9_123, 9_250):
            np.testing.assert_array_equal(reader.frame(index).image, near[index])
        assert [frame.index for frame in reader.thinned(300)] == list(range(0, 18_066, 1_500))


@pytest.mark.realdata
def test_tif_frames_match_the_video_of_the_same_clip(real_data):
    sample = real_data / "video/ucsd_ped1_sample"
    folder, file = FrameFolder(sample / "tif_sample/Test003"), VideoFile(sample / "Test003.avi")
    assert folder.info.size == file.info.size == (158, 238)
    for still, moving in zip(folder.frames(), file.frames(), strict=False):
        assert still.index == moving.index
        assert np.abs(still.image.astype(int) - moving.image).mean() < 4  # the video is compressed
