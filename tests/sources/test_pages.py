import doctest
import itertools
import os
import struct
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from offnormal.errors import ImageError
from offnormal.sources import pages
from offnormal.sources.image import image_size, open_image, pixel_bytes, to_rgb
from offnormal.sources.pages import pages_in, parse_address
from tests.sources.deep_files import write_tiff

COLORS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)]


def write_frames(path, count=4, **options):
    frames = [Image.new("RGB", (8, 6), COLORS[number % 4]) for number in range(count)]
    if path.suffix in (".webp", ".avif"):
        options = {"lossless": True, "quality": 100} if path.suffix == ".webp" else {"quality": 100}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


def color(path):
    return np.asarray(to_rgb(open_image(path))).mean((0, 1))


@pytest.mark.parametrize("name", ["x.tif", "X.TIFF", "x.gif", "x.webp", "x.png", "x.avif"])
def test_each_page_and_frame_has_an_address(tmp_path, name):
    path = write_frames(tmp_path / name, format="TIFF" if name == "X.TIFF" else None)
    addresses, skipped = pages_in(path)
    assert addresses == [tmp_path / f"{name}[{number}]" for number in (1, 2, 3, 4)]
    assert not skipped
    for address, expected in zip(addresses, COLORS, strict=True):
        np.testing.assert_allclose(color(address), expected, atol=4 if name == "x.avif" else 0)
        assert image_size(address) == (6, 8)
    np.testing.assert_allclose(color(path), COLORS[0], atol=4 if name == "x.avif" else 0)
    assert len({pixel_bytes(address) for address in addresses}) == 4


@pytest.mark.parametrize("name", ["x.tif", "x.gif", "x.webp", "x.png", "x.avif", "x.jpg", "x.bmp"])
def test_a_file_with_one_image_is_its_own_address(tmp_path, name):
    Image.new("RGB", (8, 6)).save(tmp_path / name)
    assert pages_in(tmp_path / name) == ([tmp_path / name], {})


def test_frames_are_right_in_any_order(tmp_path):
    path = write_frames(tmp_path / "x.gif", count=60)
    for number in (50, 3, 49, 4, 60, 1):
        np.testing.assert_array_equal(color(tmp_path / f"x.gif[{number}]"), COLORS[(number - 1) % 4])
    assert len(pages_in(path)[0]) == 60


def test_a_changed_file_is_read_again(tmp_path):
    for frames in (3, 2):
        path = write_frames(tmp_path / "x.gif", count=frames)
        assert len(pages_in(path)[0]) == frames
        path = write_frames(tmp_path / "x.tif", count=frames)
        assert len(pages_in(path)[0]) == frames


def test_pages_of_every_depth_are_read(tmp_path):
    deep = np.arange(48).reshape(6, 8).astype("u2") * 80
    write_tiff(tmp_path / "x.tif", deep, (np.full((6, 8, 3), 7, "u1"), {}), deep[::-1] / np.float32(65535), t278=4)
    assert [address.name for address in pages_in(tmp_path / "x.tif")[0]] == ["x.tif[1]", "x.tif[2]", "x.tif[3]"]
    assert np.array_equal(open_image(tmp_path / "x.tif[1]").values, deep)
    assert np.array_equal(np.asarray(open_image(tmp_path / "x.tif[2]")), np.full((6, 8, 3), 7))
    assert np.array_equal(open_image(tmp_path / "x.tif[3]").values, deep[::-1] / np.float32(65535))


@pytest.mark.parametrize("options", [{}, {"deflate": True}, {"is_big": True, "order": ">"}])
def test_smaller_copies_and_masks_are_skipped_and_counted(tmp_path, options):
    image, small = np.full((6, 8), 9, "u2"), np.full((3, 4), 9, "u2")
    write_tiff(tmp_path / "one.tif", image, (small, {"t254": 1}), (image, {"t254": 4}), (small, {"t254": 5}), **options)
    addresses, skipped = pages_in(tmp_path / "one.tif")
    assert addresses == [tmp_path / "one.tif"]
    assert skipped == {"smaller copies of a page": 2, "transparency masks": 1}
    write_tiff(tmp_path / "later.tif", (small, {"t254": 1}), image, image, **options)
    assert [address.name for address in pages_in(tmp_path / "later.tif")[0]] == ["later.tif[2]", "later.tif[3]"]
    write_tiff(tmp_path / "second.tif", (small, {"t254": 1}), image, **options)
    assert [address.name for address in pages_in(tmp_path / "second.tif")[0]] == ["second.tif[2]"]
    assert image_size(tmp_path / "second.tif[2]") == (6, 8)


@pytest.mark.parametrize("name", ["x.tif", "x.gif", "x.webp"])
@pytest.mark.parametrize("number", [0, 5, 99999999999999999999])
def test_a_page_that_is_not_there_is_an_error(tmp_path, name, number):
    write_frames(tmp_path / name)
    with pytest.raises(ImageError, match=rf"no (page|frame) {number}; the file has 4 (pages|frames)"):
        open_image(tmp_path / f"{name}[{number}]")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["x.tif", "x.gif", "x.webp", "x.png"])
def test_a_truncated_file_never_loses_pages_silently(tmp_path, name, share):
    rng, path = np.random.default_rng(0), tmp_path / name
    frames = [Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)) for _ in range(4)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    readable, unreadable = 0, 0
    for address in pages_in(path)[0]:
        try:
            open_image(address)
            readable += 1
        except ImageError as error:
            assert str(path) in str(error)
            unreadable += 1
    assert unreadable
    assert readable < 4


def test_a_file_with_brackets_in_its_name_is_a_file(tmp_path):
    Image.new("L", (4, 4), 9).save(tmp_path / "x.tif[2]", "TIFF")
    assert parse_address(tmp_path / "x.tif[2]") is None
    assert parse_address(tmp_path / "y.tif[2]") == (tmp_path / "y.tif", 2)
    assert parse_address(tmp_path / "y.txt[2]") is None
    assert color(tmp_path / "x.tif[2]")[0] == 9


def test_the_file_of_a_page_may_be_missing(tmp_path):
    with pytest.raises(ImageError, match=r"x\.tif\[2\]: no such file"):
        open_image(tmp_path / "x.tif[2]")


def test_the_example_is_right():
    assert doctest.testmod(pages).failed == 0


def test_a_named_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (address,), _ = pages_in(tmp_path / "a.png")
    with pytest.raises(ImageError, match="named pipe"):
        open_image(address)


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png"])
def test_frames_can_be_read_in_any_order(tmp_path, name):
    for position, order in enumerate(itertools.permutations(range(4))):
        path = write_frames(tmp_path / f"{position}{name}")
        for number in order:
            np.testing.assert_array_equal(color(path.with_name(f"{path.name}[{number + 1}]")), COLORS[number])


def test_an_animated_png_is_recognized_behind_a_large_color_profile(tmp_path):
    path = write_frames(tmp_path / "x.png")
    content = path.read_bytes()
    text = b"tEXt" + b"Comment\0" + bytes(range(1, 256)) * 80
    start = content.index(b"acTL") - 4
    path.write_bytes(
        content[:start] + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", crc32(text)) + content[start:]
    )
    assert len(pages_in(path)[0]) == 4
    plain = tmp_path / "plain.png"
    Image.new("RGB", (8, 6)).save(plain)
    assert pages_in(plain)[0] == [plain]
    plain.write_bytes(plain.read_bytes()[:20])
    assert pages_in(plain)[0] == [plain]
