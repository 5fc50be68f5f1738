import struct

import numpy as np
import pytest
from PIL import Image

from offnormal.errors import ImageError
from offnormal.sources.deep import DeepImage, Depth, join_depths
from offnormal.sources.image import (
    deep_colors,
    image_depth,
    image_size,
    open_image,
    reading_notes,
    to_channels,
    to_rgb,
)
from offnormal.sources.mask import open_mask
from offnormal.sources.once_log import OnceLog
from tests.sources.deep_files import write_png, write_tiff

RNG = np.random.default_rng(0)


def samples(height, width, channels, dtype="u2"):
    shape = (height, width, channels) if channels > 1 else (height, width)
    if np.dtype(dtype).kind == "f":
        return RNG.normal(size=shape).astype(dtype)
    return RNG.integers(0, 4096, shape).astype(dtype)


def stored(image):
    values = image.values if image.values.ndim == 3 else image.values[..., None]
    return values if image.alpha is None else np.dstack([values, image.alpha])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits_is_read_bit_by_bit(tmp_path, channels):
    values = RNG.integers(0, 65536, (5, 7, channels)).astype(np.uint16)
    write_png(tmp_path / "x.png", values)
    assert np.array_equal(stored(open_image(tmp_path / "x.png")), values)
    assert image_size(tmp_path / "x.png") == (5, 7)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"order": ">"},
        {"deflate": True, "planar": True},
        {"deflate": True, "tile": (16, 32), "order": ">", "is_big": True},
        {"planar": True, "tile": (16, 16), "is_big": True},
        {"deflate": True, "predictor": 2, "order": ">"},
        {"deflate": True, "predictor": 2, "tile": (16, 16)},
        {"deflate": True, "predictor": 3, "tile": (16, 16)},
        {"deflate": True, "predictor": 3, "planar": True, "order": ">"},
    ],
)
def test_tiff_of_every_depth_and_form_is_read_bit_by_bit(tmp_path, channels, options):
    for dtype in ("f2", "f4", "f8") if options.get("predictor") == 3 else ("u2", "i2", "u4", "f2", "f4", "f8"):
        values = samples(19, 37, channels, dtype)
        write_tiff(tmp_path / "x.tif", values, **options)
        read = stored(open_image(tmp_path / "x.tif"))
        assert read.dtype == dtype
        assert np.array_equal(read, values.reshape(read.shape))
        assert image_size(tmp_path / "x.tif") == (19, 37)


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_deep_images_are_turned_upright(tmp_path, turn):
    values = samples(3, 5, 3)
    upright = np.rot90(values, {1: 0, 3: 2, 6: -1, 8: 1}[turn])
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([turn]) + bytes(6)
    write_png(tmp_path / "x.png", values, exif=exif)
    write_tiff(tmp_path / "x.tif", values, t274=turn)
    for name in ("x.png", "x.tif"):
        assert np.array_equal(open_image(tmp_path / name).values, upright)
        assert image_size(tmp_path / name) == upright.shape[:2]


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_samples_are_unpacked(tmp_path, bits):
    values = RNG.integers(0, 2**bits, (6, 8)).astype(np.uint16)
    ones = (values[..., None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8).reshape(6, -1)
    packed = np.packbits(ones, axis=1)
    write_tiff(tmp_path / "x.tif", packed, t256=8, t258=bits)
    assert np.array_equal(open_image(tmp_path / "x.tif").values, values)


def test_white_is_zero_and_cmyk_become_what_they_show(tmp_path):
    write_tiff(tmp_path / "white.tif", np.array([[0, 65535, 1]], np.uint16), t262=0)
    assert open_image(tmp_path / "white.tif").values.tolist() == [[65535, 0, 65534]]
    ink = np.array([[[0, 65535, 65535, 0], [0, 0, 0, 65535], [0, 0, 0, 0]]], np.uint16)
    write_tiff(tmp_path / "ink.tif", ink, t262=5)
    assert open_image(tmp_path / "ink.tif").values.tolist() == [[[65535, 0, 0], [0, 0, 0], [65535] * 3]]


def test_tiff_that_cannot_be_read_in_full_depth_is_refused(tmp_path):
    write_tiff(tmp_path / "many.tif", samples(4, 5, 7))
    write_tiff(tmp_path / "lab.tif", samples(4, 5, 3), t262=8)
    for name, reason in (("many.tif", "7 samples of 16 bits"), ("lab.tif", "photometric interpretation 8")):
        with pytest.raises(ImageError, match=rf"{name}: TIFF with .*{reason}.*; convert it to RGB"):
            open_image(tmp_path / name)


@pytest.mark.parametrize("kind", ["6", "5", "3", "2"])
def test_portable_images_with_values_above_255_keep_them(tmp_path, kind):
    values = samples(4, 6, 3 if kind in "36" else 1)
    body = values.astype(">u2").tobytes() if kind in "56" else " ".join(map(str, values.ravel())).encode()
    (tmp_path / "x.ppm").write_bytes(b"P%s\n# made by a camera\n6 4\n4095\n%s" % (kind.encode(), body))
    image = open_image(tmp_path / "x.ppm")
    assert np.array_equal(image.values, values)
    assert image.depth.levels == (0, 4095)
    assert image_size(tmp_path / "x.ppm") == (4, 6)


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.ppm"])
def test_truncated_deep_files_are_named(tmp_path, name):
    path, values = tmp_path / name, RNG.integers(0, 65536, (64, 64, 3)).astype(np.uint16)
    if name == "x.ppm":
        path.write_bytes(b"P6 64 64 65535\n" + values.tobytes())
    else:
        (write_png if name == "x.png" else write_tiff)(path, values)
    content = path.read_bytes()
    for share in (0.3, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ImageError, match=str(path)):
            open_image(path)


def test_damaged_deep_files_raise_image_errors_only(tmp_path):
    values = RNG.integers(0, 65536, (8, 9, 3)).astype(np.uint16)
    write_png(tmp_path / "a.png", values)
    write_tiff(tmp_path / "b.tif", values, deflate=True, predictor=2)
    write_tiff(tmp_path / "c.tif", values, order=">", is_big=True, tile=(16, 16))
    (tmp_path / "d.ppm").write_bytes(b"P6 9 8 65535\n" + values.tobytes())
    for path in sorted(tmp_path.iterdir()):
        content = path.read_bytes()
        for _ in range(150):
            bad = bytearray(content)
            for position in RNG.integers(0, len(bad), 2) if RNG.random() < 0.5 else -RNG.integers(1, 300, 2):
                bad[position % len(bad)] = RNG.integers(0, 256)
            path.write_bytes(bad)
            for read in (open_image, image_size, image_depth):
                try:
                    read(path)
                except ImageError as error:
                    assert str(path) in str(error)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("bits", "highest"), [(10, 1023), (12, 4095), (14, 16383), (16, 65535), (12, 1024)])
@pytest.mark.parametrize("is_color", [False, True])
def test_16_bit_images_are_scaled_by_their_range(tmp_path, suffix, bits, highest, is_color):
    values = np.array([[0, 255, 256], [300, highest // 2, highest]], np.uint16)
    stacked = np.dstack([values] * 3) if is_color else values
    path = tmp_path / f"x{suffix}"
    (write_png if suffix == ".png" else write_tiff)(path, stacked)
    levels = image_depth(path).levels
    assert levels == (0, 2**bits - 1)
    for channels in (1, 3):
        scaled = to_channels(open_image(path), channels, levels=levels)
        expected = stacked if channels == 3 else values
        np.testing.assert_allclose(scaled, expected / (2**bits - 1), rtol=1e-6)
        assert len(np.unique(scaled)) == values.size  # nothing is clipped at 255
    colors = np.asarray(to_rgb(open_image(path), levels=levels))
    np.testing.assert_array_equal(colors[..., 0], (values / np.float32(2**bits - 1) * 255).round())


@pytest.mark.parametrize(
    ("low", "high", "dtype", "stated", "levels"),
    [
        (0, 900, "u2", None, (0, 1023)),
        (0, 900, "u2", 12, (0, 4095)),
        (0, 900, "u2", 11, (0, 4095)),
        (0, 9000, "u2", 12, (0, 16383)),  # the file is wrong
        (0, 70000, "u4", None, (-17500, 87500)),
        (-1000, 3000, "i2", None, (-2000, 4000)),
        (0, 3000, "i2", None, (0, 4095)),
        (0, 1, "f4", None, (0, 1)),
        (0.2, 0.7, "f8", None, (0, 1)),
        (20, 60, "f4", None, (10, 70)),
        (5, 5, "f4", None, (4, 6)),
    ],
)
def test_levels_follow_one_rule(low, high, dtype, stated, levels):
    image = DeepImage(np.array([[low, high]], dtype), stated_bits=stated)
    assert image.depth.levels == levels


def test_stated_bits_are_read_from_png_and_tiff(tmp_path):
    values = np.array([[0, 900]], np.uint16)
    write_png(tmp_path / "x.png", values, significant_bits=12)
    write_tiff(tmp_path / "x.tif", values, t281=4095)
    write_png(tmp_path / "color.png", np.dstack([values] * 3), significant_bits=12)
    for name in ("x.tif", "color.png", "x.png"):
        assert image_depth(tmp_path / name).levels == (0, 4095)


def test_levels_of_several_images_contain_all():
    dim, bright = Depth(0, 900, False), Depth(0, 3900, False)
    assert join_depths([dim, None, bright]).levels == (0, 4095)
    assert join_depths([None]) is None
    assert join_depths([Depth(0, 0.5, True), Depth(-1, 0.2, True)]).levels == (-1.375, 0.875)


@pytest.mark.parametrize(
    ("values", "learned", "scaled", "note"),
    [
        (np.array([[0, 65535]], "u2"), (0, 65535), [0, 1], None),
        (np.array([[0, 65535]], "u2"), (0, 4095), [0, 1], "values out of range: values from 0 to 65535.*clipped"),
        (np.array([[0, 4000]], "u2"), (0, 65535), [0, 4000 / 65535], "dark values: .*read as they are"),
        (np.array([[0, 5000]], "u2"), (0, 65535), [0, 5000 / 65535], None),
        (np.array([[0, 4095]], "u2"), None, [0, 1], "more than 8 bits: .*had 8 bits; read as 0 to 4095"),
        (np.array([[0, 0.5]], "f4"), (0, 4095), [0, 0.5], "other values: .*read as 0 to 1"),
        (np.array([[0, 4095]], "u2"), (0, 1), [0, 1], "other values: .*read as 0 to 4095"),
        (np.array([[0, 0.5]], "f4"), (-100, 100), [0.5, 0.5025], None),
    ],
)
def test_another_depth_than_the_training_images_is_explained(values, learned, scaled, note):
    image = DeepImage(values)
    np.testing.assert_allclose(to_channels(image, 1, levels=learned)[0], scaled, rtol=1e-6)
    if note is None:
        assert reading_notes(image, learned) == []
    else:
        with pytest.raises(AssertionError, match=note):
            raise AssertionError(*reading_notes(image, learned))


def test_8_bit_images_differ_from_deep_training_images():
    image = Image.new("L", (2, 2))
    assert reading_notes(image, None) == []
    assert reading_notes(image, (0, 4095))[0].startswith(
        "8 bits: training images had values from 0 to 4095; 0 to 255 are"
    )


def test_each_kind_of_warning_is_logged_once(caplog, tmp_path):
    notes = OnceLog()
    for name in ("a", "b"):
        notes.warn(tmp_path / name, "dark values: x")
        notes.warn(tmp_path / name, "8 bits: y")
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert messages[0].startswith(f"{tmp_path / 'a'}: dark values: x; ")


@pytest.mark.parametrize("opaque", [65535, 4095])
def test_transparent_pixels_of_deep_images_become_white(tmp_path, opaque):
    values = np.array([[[1000] * 3 + [0], [1000] * 3 + [opaque]]], np.uint16)
    values[0, 0, 0] = 4095
    write_png(tmp_path / "x.png", values)
    rgb = to_channels(open_image(tmp_path / "x.png"), 3, levels=(0, 4095))
    np.testing.assert_allclose(rgb[0], [[1] * 3, [1000 / 4095] * 3], rtol=1e-5)
    gray = np.array([[[1000, 0], [4000, opaque]]], np.uint16)
    write_png(tmp_path / "g.png", gray)
    np.testing.assert_allclose(
        to_channels(open_image(tmp_path / "g.png"), 1, levels=(0, 4095))[0], [1, 4000 / 4095], rtol=1e-5
    )


def test_values_that_are_not_numbers_are_refused(tmp_path):
    for value in (np.nan, np.inf, -np.inf):
        write_tiff(tmp_path / "x.tif", np.array([[0.5, value]], "f4"))
        with pytest.raises(ImageError, match="expected finite numbers"):
            open_image(tmp_path / "x.tif").depth  # noqa: B018
        with pytest.raises(ImageError, match="expected finite numbers"):
            image_depth(tmp_path / "x.tif")


def test_deep_masks_mark_every_pixel_above_zero(tmp_path):
    write_png(tmp_path / "m.png", np.array([[[0, 0, 0], [0, 0, 1]]], np.uint16))
    assert open_mask(tmp_path / "m.png").tolist() == [[False, True]]
    write_tiff(tmp_path / "m.tif", np.array([[0, 0.5]], "f4"))
    assert open_mask(tmp_path / "m.tif").tolist() == [[False, True]]


def test_deep_colors_are_those_of_the_image(tmp_path):
    assert deep_colors(Image.new("L", (2, 2)), None) is None
    write_tiff(tmp_path / "g.tif", np.array([[0, 2000]], "u2"))
    colors = deep_colors(open_image(tmp_path / "g.tif"), (0, 4095))
    assert colors.shape == (1, 2, 3)
    np.testing.assert_allclose(colors[0, 1], [2000 / 4095] * 3, rtol=1e-6)


def test_a_tiff_whose_tags_are_larger_than_the_file_is_refused(tmp_path):
    entry = struct.pack("<HHLL", 258, 3, 2**31, 8)
    (tmp_path / "x.tif").write_bytes(struct.pack("<2sHLH", b"II", 42, 8, 1) + entry + bytes(4))
    with pytest.raises(ImageError, match="tag 258 is larger than the file"):
        open_image(tmp_path / "x.tif")
