import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from offnormal.errors import ImageError
from offnormal.sources.deep import DeepImage
from offnormal.sources.image import image_depth, image_size, open_image, to_channels
from tests.sources.deep_files import write_png, write_tiff

UPRIGHT = {  # EXIF orientation -> what a viewer does with the stored array
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}
RNG = np.random.default_rng(0)


def noise(height, width, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def oriented(path, array, orientation, **options):
    if path.suffix == ".tif":
        Image.fromarray(array).save(path, tiffinfo={0x0112: orientation}, **options)
        return
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(array).save(path, exif=exif, **options)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_images_are_turned_upright_and_their_header_states_the_same_size(tmp_path, suffix, orientation):
    array, path = noise(4, 7), tmp_path / f"x{suffix}"
    oriented(path, array, orientation, **({"lossless": True} if suffix == ".webp" else {}))
    expected = UPRIGHT[orientation](array)
    np.testing.assert_array_equal(np.asarray(open_image(path)), expected)
    assert image_size(path) == expected.shape[:2]


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_jpegs_are_turned_upright(tmp_path, orientation):
    array, path = np.kron(noise(2, 3), np.ones((8, 8, 1), np.uint8)), tmp_path / "x.jpg"
    oriented(path, array, orientation, quality=100, subsampling=0)
    expected = UPRIGHT[orientation](array)
    assert np.abs(np.asarray(open_image(path)).astype(int) - expected).max() < 8
    assert image_size(path) == expected.shape[:2]


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_of_every_depth_is_turned_upright(tmp_path, dtype, compression, orientation):
    array = np.arange(28).reshape(4, 7).astype(dtype)  # uncompressed ones are scrambled when Pillow maps the file
    oriented(tmp_path / "x.tif", array, orientation, compression=compression)
    expected = UPRIGHT[orientation](array)
    image = open_image(tmp_path / "x.tif")
    np.testing.assert_array_equal(np.asarray(image.values if isinstance(image, DeepImage) else image), expected)
    assert image_size(tmp_path / "x.tif") == expected.shape


def test_damaged_exif_leaves_an_image_readable(tmp_path):
    array = noise(4, 7)
    Image.fromarray(array).save(tmp_path / "x.png", exif=b"Exif\0\0MM\xff\xff nonsense")
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "x.png")), array)
    assert image_size(tmp_path / "x.png") == (4, 7)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_smaller_if_the_scale_divides_both_sides(tmp_path, orientation):
    smooth = np.asarray(Image.fromarray(noise(4, 6)).resize((192, 128), Image.Resampling.BICUBIC))
    oriented(tmp_path / "x.jpg", smooth, orientation, quality=95)
    whole = open_image(tmp_path / "x.jpg")
    height, width = whole.height, whole.width
    for at_least, scale in (((height // 8, width // 8), 8), ((height // 4 - 1, width // 8), 4), ((height, 1), 1)):
        small = open_image(tmp_path / "x.jpg", at_least=at_least)
        assert (small.height, small.width) == (height // scale, width // scale)
        cells = np.asarray(whole, float).reshape(height // scale, scale, width // scale, scale, 3).mean((1, 3))
        assert np.abs(np.asarray(small) - cells).mean() < 2
    assert image_size(tmp_path / "x.jpg") == (height, width)


@pytest.mark.parametrize(("size", "scale"), [((96, 64), 8), ((100, 60), 4), ((98, 64), 2), ((97, 64), 1)])
def test_a_jpeg_is_never_decoded_at_a_scale_that_moves_pixels(tmp_path, size, scale):
    Image.new("RGB", size).save(tmp_path / "x.jpg")
    assert open_image(tmp_path / "x.jpg", at_least=(1, 1)).size == (size[0] // scale, size[1] // scale)


def test_other_formats_are_decoded_at_full_size(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "x.png")
    assert open_image(tmp_path / "x.png", at_least=(1, 1)).size == (64, 64)


def test_the_depth_of_8_bit_images_and_of_bad_files(tmp_path):
    Image.new("L", (3, 3)).save(tmp_path / "x.png")
    assert image_depth(tmp_path / "x.png") is None
    for content in (b"", b"P5 x y 65535\n", b"II*\0"):
        (tmp_path / "bad.pgm").write_bytes(content)
        with pytest.raises(ImageError, match=r"bad\.pgm"):
            image_depth(tmp_path / "bad.pgm")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_of_images_become_white(tmp_path, mode):
    color = (40, 40, 40) if mode == "RGBA" else (40,)
    image = Image.new(mode, (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (*color, alpha))
    image.save(tmp_path / "x.png")
    rgb = np.asarray(to_channels(open_image(tmp_path / "x.png"), 3))
    expected = np.array([255, 255 + (40 - 255) * 128 / 255, 40])
    np.testing.assert_allclose(rgb[0], np.repeat(expected[:, None], 3, 1), atol=1)
    np.testing.assert_allclose(np.asarray(to_channels(open_image(tmp_path / "x.png"), 1))[0], expected, atol=1)


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_palettes_keep_their_colors_and_transparent_entries_become_white(tmp_path, suffix):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 250])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / f"plain{suffix}")
    image.save(tmp_path / f"clear{suffix}", transparency=1)
    plain = np.asarray(to_channels(open_image(tmp_path / f"plain{suffix}"), 3))
    clear = np.asarray(to_channels(open_image(tmp_path / f"clear{suffix}"), 3))
    np.testing.assert_array_equal(plain, [[[200, 0, 0], [0, 0, 250]]])
    np.testing.assert_array_equal(clear, [[[200, 0, 0], [255, 255, 255]]])


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "LA", "La", "RGBa", "PA", "CMYK", "YCbCr", "LAB", "HSV"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_rgb_or_gray(mode, channels):
    converted = to_channels(Image.new(mode, (3, 2)), channels)
    assert converted.size == (3, 2)
    assert converted.mode == {1: "L", 3: "RGB"}[channels]


def test_one_bit_gray_and_cmyk_have_the_right_colors(tmp_path):
    Image.new("1", (2, 2), 1).save(tmp_path / "one.png")
    Image.new("L", (2, 2), 77).save(tmp_path / "gray.png")
    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "cmyk.tif")
    for name, expected in (("one.png", (255,) * 3), ("gray.png", (77,) * 3), ("cmyk.tif", (255, 0, 0))):
        assert to_channels(open_image(tmp_path / name), 3).getpixel((0, 0)) == expected


def truncated(path):
    Image.fromarray(noise(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def text(path):
    path.write_text("not an image at all")


def empty(path):
    path.touch()


def missing(path):
    pass


def folder(path):
    path.mkdir()


def bad_pgm(path):
    path.write_bytes(b"P5 6x 4 65535\n" + b"\0" * 48)


@pytest.mark.parametrize(
    ("name", "make", "word"),
    [
        ("a b.jpg", truncated, "truncated"),
        ("ä.png", truncated, "truncated"),
        ("x.tif", truncated, "damaged|truncated"),
        ("x.png", text, "not a readable image"),
        ("x.png", empty, "empty"),
        ("x.png", missing, "no such file"),
        ("x.png", folder, "is a folder"),
        ("x.pgm", bad_pgm, "damaged"),
    ],
)
def test_errors_name_the_bad_file_and_the_problem(tmp_path, name, make, word):
    path = tmp_path / name
    make(path)
    with pytest.raises(ImageError, match=word) as error:
        open_image(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("make", [text, empty, missing, bad_pgm])
def test_errors_name_the_file_with_the_bad_header(tmp_path, make):
    make(tmp_path / "x.pgm")
    with pytest.raises(ImageError, match=r"x\.pgm: "):
        image_size(tmp_path / "x.pgm")


def test_files_of_noise_raise_image_errors_only(tmp_path):
    rng = np.random.default_rng(1)
    sources = []
    for suffix, options in ((".png", {}), (".jpg", {}), (".tif", {}), (".gif", {}), (".webp", {}), (".pgm", {})):
        path = tmp_path / f"good{suffix}"
        Image.fromarray(noise(16, 16, 1)).save(path, **options)
        sources.append(path)
    for source in sources:
        content = source.read_bytes()
        for _ in range(60):
            bad = bytearray(content)
            for _ in range(3):
                bad[rng.integers(0, min(len(bad), 200))] = rng.integers(0, 256)
            path = tmp_path / f"bad{source.suffix}"
            path.write_bytes(bad)
            for read_file in (open_image, image_size, image_depth):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        read_file(path)
                    except ImageError as error:
                        assert str(path) in str(error)


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.gif[2]", "x.tif[2]", "deep.tif", "deep.png"])
def test_files_with_too_many_pixels_are_refused(tmp_path, name):
    frames = [Image.new("L", (50, 40), value) for value in (0, 90)]
    frames[0].save(tmp_path / "x.png")
    for file in ("x.tif", "x.gif"):
        frames[0].save(tmp_path / file, save_all=True, append_images=frames[1:])
    write_tiff(tmp_path / "deep.tif", np.zeros((40, 50, 3), "u2"))
    write_png(tmp_path / "deep.png", np.zeros((40, 50, 3), "u2"))
    for read_file in (open_image, image_size, image_depth):
        with pytest.raises(ImageError, match=r"40x50 is 2,000 pixels; expected at most 1,999.*--max-image-pixels"):
            read_file(tmp_path / name, max_pixels=1999)
        read_file(tmp_path / name, max_pixels=2000)


def test_large_files_are_read_without_warnings(tmp_path):
    Image.new("1", (10000, 9500)).save(tmp_path / "x.png")  # above the limit at which Pillow warns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_size(tmp_path / "x.png") == (9500, 10000)


def test_a_damaged_tiff_prints_nothing(tmp_path, capfd):
    Image.fromarray(noise(64, 64)).save(tmp_path / "x.tif", compression="tiff_lzw")
    write_tiff(tmp_path / "y.tif", RNG.integers(0, 65536, (32, 32)).astype("u2"), deflate=True)
    for path in (tmp_path / "x.tif", tmp_path / "y.tif"):
        bad = bytearray(path.read_bytes())
        bad[20:400] = bytes(reversed(bad[20:400]))
        path.write_bytes(bad)
        with pytest.raises(ImageError, match="damaged"):
            open_image(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["EPS", "PSD", "ICO"])
def test_only_the_named_formats_are_opened(tmp_path, kind):
    if kind == "PSD":
        (tmp_path / "x.png").write_bytes(b"8BPS\0\1" + bytes(300))
    else:
        Image.new("RGB", (16, 16)).save(tmp_path / "x.png", kind)
    with pytest.raises(ImageError, match="not a readable image"):
        open_image(tmp_path / "x.png")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("has_late_exif", [True, False])
def test_the_size_of_a_png_needs_no_pixels_unless_exif_follows_them(tmp_path, monkeypatch, bits, has_late_exif):
    path = tmp_path / "x.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    if bits == 8:
        Image.fromarray(noise(4, 6)).save(path)
    else:
        write_png(path, np.zeros((4, 6), "u2"))
    if has_late_exif:
        chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
        late = struct.pack(">L", len(chunk) - 4) + chunk + struct.pack(">L", zlib.crc32(chunk))
        content = path.read_bytes()
        path.write_bytes(content[:-12] + late + content[-12:])
    else:
        monkeypatch.setattr(PngImageFile, "load", lambda image: pytest.fail("the pixels were decoded"))
    assert image_size(path) == ((6, 4) if has_late_exif else (4, 6))
