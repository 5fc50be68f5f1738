import os
import socket
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from offnormal.errors import VideoError
from offnormal.sources.container import FrameConverter
from offnormal.sources.video import open_video
from tests.video_files import numbered, write_video

COLOR = (200, 60, 90)
WEIGHTS = {"BT.601": (0.299, 0.114), "BT.709": (0.2126, 0.0722), "BT.2020": (0.2627, 0.0593)}  # red and blue in luma


def yuv(rgb, matrix, full, bits):
    """Code values of luma and two color differences by definition."""
    red, green, blue = (value / 255 for value in rgb)
    red_weight, blue_weight = WEIGHTS[matrix]
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    differences = (blue - luma) / 2 / (1 - blue_weight), (red - luma) / 2 / (1 - red_weight)
    if full:
        y_min = 2**bits - 1
        return [round(luma * y_min), *(round(d * y_min + 2 ** (bits - 1)) for d in differences)]
    return [round(v * 2 ** (bits - 8)) for v in (16 + 219 * luma, *(128 + 224 * d for d in differences))]


def make_frame(pixels, values, *, size=(48, 64), bits=8):
    frame = av.VideoFrame(size[1], size[0], pixels)
    for plane, value in zip(frame.planes, values, strict=True):
        plane.update(np.full(plane.buffer_size // (2 if bits > 8 else 1), value, "<u2" if bits > 8 else "u1").tobytes())
    return frame


def convert(frame):
    return FrameConverter(frame).image(frame)


@pytest.mark.parametrize(
    ("pixels", "bits"), [("yuv420p", 8), ("yuv422p", 8), ("yuv444p", 8), ("yuv420p10le", 10), ("yuv444p12le", 12)]
)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("tag", "matrix"), [(1, "BT.709"), (5, "BT.601"), (6, "BT.601"), (9, "BT.2020"), (2, "BT.601")]
)
def test_matrix_and_range_come_from_the_frame(tag, matrix, full, pixels, bits):
    frame = make_frame(pixels, yuv(COLOR, matrix, full, bits), bits=bits)
    frame.colorspace, frame.color_range = tag, 2 if full else 1
    image = convert(frame)
    assert (image.shape, image.dtype) == ((48, 64, 3), np.uint8)
    assert np.abs(image.astype(int) - COLOR).max() <= 3


def test_the_pixel_format_can_imply_full_range_and_the_default_is_limited():
    assert np.abs(convert(make_frame("yuvj420p", yuv(COLOR, "BT.601", True, 8))).astype(int) - COLOR).max() <= 3
    assert np.abs(convert(make_frame("yuv420p", yuv(COLOR, "BT.601", False, 8))).astype(int) - COLOR).max() <= 3


@pytest.mark.parametrize("stated_range", [0, 1, 2])
@pytest.mark.parametrize(
    ("pixels", "value", "bits"), [("gray", 100, 8), ("gray10le", 401, 10), ("gray16le", 25700, 16)]
)
def test_gray_keeps_its_values_for_every_stated_range(pixels, value, bits, stated_range):
    frame = make_frame(pixels, [value], bits=bits)
    frame.color_range = stated_range
    assert (convert(frame) == 100).all()


@pytest.mark.parametrize("pixels", ["rgb24", "bgr24", "gbrp"])
def test_rgb_of_every_channel_order_is_unchanged(pixels):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(image).reformat(format=pixels)
    np.testing.assert_array_equal(convert(frame), image)


def test_transparent_pixels_are_blended_on_white():
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[..., :3] = 100
    rgba[:, 2:4, 3], rgba[:, 4:, 3] = 128, 255
    image = convert(av.VideoFrame.from_ndarray(rgba, format="rgba"))
    assert image[0, :, 0].tolist() == [255, 255, 177, 177, 100, 100]


def test_frames_of_another_size_are_scaled_to_the_first():
    converter = FrameConverter(make_frame("gray", [10]))
    small = make_frame("gray", [200], size=(24, 32))
    assert not converter.matches_size(small)
    assert converter.image(small).shape == (48, 64, 3)
    assert (converter.image(small) == 200).all()


@pytest.mark.parametrize("width", [1, 7, 33, 64, 250])
def test_odd_sizes_are_complete_and_contiguous(width):
    image = np.random.default_rng(0).integers(0, 256, (5, width, 3), dtype=np.uint8)
    result = convert(av.VideoFrame.from_ndarray(image))
    np.testing.assert_array_equal(result, image)
    assert result.flags.c_contiguous


def convert_turned(image, matrix):
    """Return a converter for a display matrix, and the converted image."""
    side = {"DISPLAYMATRIX": np.array([[*row, 0] for row in matrix] + [[0, 0, 1 << 30]], np.int32).tobytes()}
    converter = FrameConverter(SimpleNamespace(height=image.shape[0], width=image.shape[1], side_data=side))
    return converter, converter.image(av.VideoFrame.from_ndarray(image))


@pytest.mark.parametrize(
    "matrix",
    [[[a, 0], [0, d]] for a in (-1, 1) for d in (-1, 1)] + [[[0, b], [c, 0]] for b in (-1, 1) for c in (-1, 1)],
)
def test_the_display_matrix_moves_each_pixel_to_its_place(matrix):
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    (a, b), (c, d) = matrix
    positions = {
        (c * y + a * x, b * x + d * y): image[y, x] for y in range(3) for x in range(5)
    }  # x' = ax + cy, y' = bx + dy
    x_min, y_min = (min(position[i] for position in positions) for i in (0, 1))
    converter, result = convert_turned(image, np.array(matrix) * 65536)
    assert result.shape[:2] == converter.size
    for (x, y), value in positions.items():
        np.testing.assert_array_equal(result[y - y_min, x - x_min], value)


def test_slanted_matrices_are_ignored():
    image = np.zeros((3, 5, 3), np.uint8)
    assert convert_turned(image, [[46341, -46341], [46341, 46341]])[1].shape == (3, 5, 3)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.mark.parametrize(
    "content",
    [
        "ffconcat version 1.0\nfile {url}\n",
        "ffconcat version 1.0\nfile /etc/passwd\n",
        "ffconcat version 1.0\nfile 'concat:b.mp4|{url}'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
        "<?xml version='1.0'?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>",
        "[InternetShortcut]\nURL={url}\n",
    ],
)
def test_a_video_file_that_names_addresses_connects_to_none(listener, tmp_path, content):
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.mp4"
    for name in ("a.mp4", "a.m3u8"):
        (tmp_path / name).write_text(content.format(url=url))
        with pytest.raises(VideoError, match=name), open_video(tmp_path / name) as video:
            list(video.frames())
    with pytest.raises(BlockingIOError):  # nobody connected
        listener.accept()


@pytest.mark.parametrize("name", ["http:", "concat:a", "pipe:0", "data:x"])
def test_a_name_that_looks_like_a_protocol_is_a_file(tmp_path, monkeypatch, name):
    write_video(tmp_path / "v.mp4", numbered(3))
    (tmp_path / "v.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with open_video(Path(name)) as video:
        assert len(list(video.frames())) == 3


def test_a_relative_list_of_videos_is_read(tmp_path):
    write_video(tmp_path / "b.mp4", numbered(3))
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile b.mp4\nfile b.mp4\n")
    with open_video(tmp_path / "a.mp4") as video:
        assert len(list(video.frames())) == 6


def test_other_files_than_regular_ones_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    for path in (tmp_path / "a.mp4", Path("/dev/zero")):
        with pytest.raises(VideoError, match="expected a video file"), open_video(path):
            pass
