import numpy as np
import pytest
import torch
from PIL import Image

from offnormal.data import images
from offnormal.data.geometry import place
from offnormal.data.images import read_mask, read_pixels, stack
from offnormal.errors import ImageError
from offnormal.types import InputSpec, Resize

SPEC = InputSpec(size=(8, 12))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_have_the_channels_and_the_order_of_the_specification(tmp_path, channels):
    Image.new("RGB", (12, 8), (255, 0, 0)).save(tmp_path / "x.png")
    pixels = read_pixels(tmp_path / "x.png", InputSpec(size=(8, 12), channels=channels))
    assert pixels.shape == (channels, 8, 12)
    assert pixels.dtype == np.uint8
    assert pixels[:, 0, 0].tolist() == ([255, 0, 0] if channels == 3 else [76])


def test_deep_pixels_stay_between_0_and_1_however_the_filter_swings(tmp_path):
    steps = np.kron(np.array([[0, 1], [1, 0]] * 3), np.ones((5, 5))) * 65535
    Image.fromarray(steps.astype(np.uint16)).save(tmp_path / "x.png")
    pixels = read_pixels(tmp_path / "x.png", InputSpec(size=(64, 32), resize=Resize(interpolation="lanczos")))
    assert pixels.dtype == np.float32
    assert (pixels.min(), pixels.max()) == (0, 1)


def test_values_that_cannot_be_used_name_the_file(tmp_path):
    Image.fromarray(np.full((4, 4), 2, np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(ImageError, match=r"x\.tif: float picture with values 2 to 2"):
        read_pixels(tmp_path / "x.tif", SPEC)


@pytest.mark.parametrize("policy", ["median_aspect", "letterbox", "short_side"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_gives_nearly_the_pixels_of_the_same_picture_decoded_whole(tmp_path, policy, orientation):
    blocks = np.random.default_rng(0).integers(60, 200, (6, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    large = Image.fromarray(blocks).resize((288, 192), Image.Resampling.BICUBIC)
    large.save(tmp_path / "x.jpg", quality=95, exif=exif)
    Image.open(tmp_path / "x.jpg").save(tmp_path / "x.png", exif=exif)
    resize = Resize(policy=policy, short_side=24 if policy == "short_side" else None)
    spec = InputSpec(size=(20, 24), resize=resize)
    small, whole = (read_pixels(tmp_path / name, spec).astype(int) for name in ("x.jpg", "x.png"))
    assert np.abs(small - whole).max() <= 6
    assert np.abs(small - whole).mean() < 1


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (512, 32), (160, 160)])
@pytest.mark.parametrize("policy", ["median_aspect", "letterbox", "short_side"])
def test_at_least_twice_what_the_filter_makes_of_a_picture_is_decoded(tmp_path, monkeypatch, policy, size):
    decoded, real = [], images.open_image
    monkeypatch.setattr(images, "open_image", lambda *a, **k: decoded.append(real(*a, **k)) or decoded[-1])
    Image.new("RGB", size).save(tmp_path / "x.jpg")
    spec = InputSpec(size=(8, 8), resize=Resize(policy=policy, short_side=8 if policy == "short_side" else None))
    read_pixels(tmp_path / "x.jpg", spec)
    height, width = place(size[::-1], spec).scaled
    (image,) = decoded
    assert image.size != size or min(size) == 32
    assert image.width >= 2 * width
    assert image.height >= 2 * height


@pytest.mark.parametrize(("interpolation", "antialias"), [("nearest", True), ("bilinear", False)])
def test_points_are_taken_from_the_picture_decoded_whole(tmp_path, interpolation, antialias):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96), dtype=np.uint8)).save(tmp_path / "x.jpg")
    Image.open(tmp_path / "x.jpg").save(tmp_path / "x.png")
    spec = InputSpec(size=(8, 12), resize=Resize(interpolation=interpolation, antialias=antialias))
    np.testing.assert_array_equal(read_pixels(tmp_path / "x.jpg", spec), read_pixels(tmp_path / "x.png", spec))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_masks_of_every_mode(tmp_path, mode):
    marks = np.zeros((8, 12), np.uint8)
    marks[2:5, 3:7] = 1
    image = Image.fromarray(marks if mode in ("P", "I;16") else marks * 255)
    if mode == "P":
        image.putpalette([0, 0, 0, 0, 0, 128])
    image = Image.fromarray(marks.astype(np.uint16)) if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", SPEC, expected=(8, 12)), marks > 0)


def test_stack_scales_8_bit_and_leaves_floats():
    eight, floats = np.full((3, 2, 2), 255, np.uint8), np.full((3, 2, 2), 0.25, np.float32)
    for arrays, expected in (([eight], [1]), ([floats], [0.25]), ([eight, floats], [1, 0.25])):
        stacked = stack(arrays)
        assert stacked.dtype == np.float32
        assert stacked[:, 0, 0, 0].tolist() == expected
    assert stack([np.broadcast_to(eight[0], (3, 2, 2))]).shape == (1, 3, 2, 2)


def test_stack_divides_8_bit_values_as_torch_does():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    np.testing.assert_array_equal(stack([values]), torch.from_numpy(values[None]).float().div_(255).numpy())
