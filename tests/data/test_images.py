import doctest
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from offnormal.data import images
from offnormal.data.images import (
    compute_placement,
    median_aspect_size,
    read_pixels,
    resize,
    restore_size,
    stack,
)
from offnormal.data.masks import check_mask
from offnormal.errors import ConfigError, ImageError
from offnormal.types import InputSpec, Resize

SPEC = InputSpec(size=(8, 12))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_have_the_channels_of_the_specification(tmp_path, channels):
    Image.new("RGB", (12, 8), (255, 0, 0)).save(tmp_path / "x.png")
    pixels = read_pixels(tmp_path / "x.png", InputSpec(size=(8, 12), channels=channels))
    assert pixels.shape == (channels, 8, 12)
    assert pixels.dtype == np.uint8
    assert pixels[:, 0, 0].tolist() == ([255, 0, 0] if channels == 3 else [76])


def test_deep_pixels_stay_between_0_and_1_for_every_filter(tmp_path):
    steps = np.kron(np.array([[0, 1], [1, 0]] * 3), np.ones((5, 5))) * 65535
    Image.fromarray(steps.astype(np.uint16)).save(tmp_path / "x.png")
    pixels = read_pixels(tmp_path / "x.png", InputSpec(size=(64, 32), resize=Resize(interpolation="lanczos")))
    assert pixels.dtype == np.float32
    assert (pixels.min(), pixels.max()) == (0, 1)


def test_values_that_cannot_be_used_name_the_file(tmp_path):
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(ImageError, match=r"x\.tif: float \w+ with values nan to nan"):
        read_pixels(tmp_path / "x.tif", SPEC)


@pytest.mark.parametrize("policy", ["median_aspect", "letterbox", "short_side"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_reduced_jpeg_has_nearly_the_pixels_of_the_full_image(tmp_path, policy, orientation):
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
def test_images_are_decoded_with_at_least_twice_the_resized_size(tmp_path, monkeypatch, policy, size):
    decoded, real = [], images.open_image
    monkeypatch.setattr(images, "open_image", lambda *a, **k: decoded.append(real(*a, **k)) or decoded[-1])
    Image.new("RGB", size).save(tmp_path / "x.jpg")
    spec = InputSpec(size=(8, 8), resize=Resize(policy=policy, short_side=8 if policy == "short_side" else None))
    read_pixels(tmp_path / "x.jpg", spec)
    height, width = compute_placement(size[::-1], spec).scaled
    (image,) = decoded
    assert image.size != size or min(size) == 32
    assert image.width >= 2 * width
    assert image.height >= 2 * height


@pytest.mark.parametrize(("interpolation", "antialias"), [("nearest", True), ("bilinear", False)])
def test_point_filters_use_the_full_image(tmp_path, interpolation, antialias):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96), dtype=np.uint8)).save(tmp_path / "x.jpg")
    Image.open(tmp_path / "x.jpg").save(tmp_path / "x.png")
    spec = InputSpec(size=(8, 12), resize=Resize(interpolation=interpolation, antialias=antialias))
    np.testing.assert_array_equal(read_pixels(tmp_path / "x.jpg", spec), read_pixels(tmp_path / "x.png", spec))


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


SIZES = [(40, 40), (37, 81), (90, 31), (1, 50), (50, 1), (3, 300), (16, 24)]
STRETCH = InputSpec(size=(32, 48), resize=Resize(policy="stretch"))
MEDIAN = InputSpec(size=(32, 48))
LETTERBOX = InputSpec(size=(32, 48), resize=Resize(policy="letterbox"))
SHORT_SIDE = InputSpec(size=(24, 24), resize=Resize(policy="short_side", short_side=32))
WHOLE_SIDE = InputSpec(size=(32, 32), resize=Resize(policy="short_side", short_side=32))
SPECS = {"stretch": STRETCH, "median": MEDIAN, "letterbox": LETTERBOX, "short_side": SHORT_SIDE, "whole": WHOLE_SIDE}


def filtered(spec, **changes):
    resize = {"policy": spec.resize.policy, "short_side": spec.resize.short_side, **changes}
    return InputSpec(size=spec.size, resize=Resize(**resize))


def naive_target(y, x, size, spec):
    """Position, at input size, of the center of pixel (y, x) of an image of `size`."""
    (height, width), (rows, columns) = spec.size, size
    if spec.resize.policy in ("stretch", "median_aspect"):
        return (y + 0.5) * height / rows, (x + 0.5) * width / columns
    if spec.resize.policy == "letterbox":
        scale = min(height / rows, width / columns)
    else:
        scale = spec.resize.short_side / min(rows, columns)
    return (y + 0.5 - rows / 2) * scale + height / 2, (x + 0.5 - columns / 2) * scale + width / 2


def test_doctests():
    assert doctest.testmod(images).failed == 0


@given(
    sizes=st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=9),
    side=st.integers(16, 1024),
    multiple=st.sampled_from([1, 8, 16, 32]),
)
@settings(max_examples=200, deadline=None)
def test_median_aspect_size_preserves_aspect_and_area_up_to_rounding(sizes, side, multiple):
    height, width = median_aspect_size(sizes, side, multiple=multiple)
    assert height % multiple == width % multiple == 0
    assert min(height, width) >= multiple
    aspect = np.median([w / h for h, w in sizes])
    ideal = side / math.sqrt(aspect), side * math.sqrt(aspect)
    if min(ideal) >= multiple:
        assert abs(height - ideal[0]) <= multiple / 2 + 1e-6
        assert abs(width - ideal[1]) <= multiple / 2 + 1e-6
    else:
        assert height * width <= max(side * side, multiple * multiple) + multiple * multiple / 2


def test_median_aspect_size_ignores_outliers():
    assert median_aspect_size([(100, 200)] * 3 + [(5000, 10)], 256, multiple=32) == (192, 352)
    assert median_aspect_size([(200, 100)], 256, multiple=32) == (352, 192)
    assert median_aspect_size([(1, 100_000)], 256, multiple=32) == (32, 2048)  # the area of 256 x 256


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SPECS)
def test_placement_follows_the_policy(name, size):
    spec = SPECS[name]
    placement = compute_placement(size, spec)
    if name in ("stretch", "median"):
        assert (placement.scaled, placement.top, placement.left) == (spec.size, 0, 0)
        return
    aspect = (placement.scaled[1] / placement.scaled[0]) / (size[1] / size[0])
    assert abs(math.log(aspect)) <= 0.51 / min(placement.scaled) + 1e-9 or min(placement.scaled) == 1
    if name == "letterbox":
        assert all(s <= t for s, t in zip(placement.scaled, spec.size, strict=True))
        assert any(s == t for s, t in zip(placement.scaled, spec.size, strict=True))
    else:
        assert min(placement.scaled) == 32
    for at, scaled, target in zip((placement.top, placement.left), placement.scaled, spec.size, strict=True):
        assert abs((scaled - target) / 2 - at) <= 0.5  # centered


@pytest.mark.parametrize("size", [(40, 40), (37, 81), (90, 31), (26, 44)])
@pytest.mark.parametrize("name", SPECS)
def test_a_marked_spot_is_where_the_naive_formula_puts_it(name, size):
    spec = filtered(SPECS[name], interpolation="bilinear")
    for y, x in ((size[0] // 2, size[1] // 2), (size[0] // 2 - 3, size[1] // 2 + 4), (size[0] // 2 + 5, size[1] // 2)):
        source = np.zeros(size, np.float32)
        source[y - 1 : y + 2, x - 1 : x + 2] = 1
        resized = np.asarray(resize(Image.fromarray(source), spec)) * inside(size, spec)
        weights = resized / resized.sum()
        rows, columns = np.mgrid[: spec.size[0], : spec.size[1]] + 0.5
        center = (weights * rows).sum(), (weights * columns).sum()
        np.testing.assert_allclose(center, naive_target(y, x, size, spec), atol=0.75)


def inside(size, spec):
    """Target pixels inside the image."""
    return check_mask(np.ones(size, np.bool_), spec, "m.png")[0]


@pytest.mark.parametrize("size", [(40, 40), (37, 81), (90, 31), (64, 96)])
@pytest.mark.parametrize("name", SPECS)
def test_restore_size_returns_a_blob_to_its_position(name, size):
    spec = SPECS[name]
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    for dy, dx in ((0, 0), (-4, 3), (5, -2)):
        y, x = size[0] / 2 + dy, size[1] / 2 + dx
        blob = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 2.5**2)).astype(np.float32)
        resized = np.asarray(resize(Image.fromarray(blob), spec)) * inside(size, spec)
        back = restore_size(resized, size, spec)
        assert back.shape == size
        assert back.dtype == np.float32
        weights = np.where(back > 0.3 * back.max(), back, 0)
        weights /= weights.sum()
        assert abs((weights * rows).sum() - y) < 1
        assert abs((weights * columns).sum() - x) < 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("mode", ["L", "RGB", "F"])
def test_every_size_is_resized_and_restored(name, size, antialias, mode):
    spec = filtered(SPECS[name], antialias=antialias)
    resized = resize(Image.new(mode, size[::-1], {"L": 200, "RGB": (200, 10, 90), "F": 0.8}[mode]), spec)
    assert (resized.height, resized.width) == spec.size
    assert resized.mode == mode
    assert restore_size(np.ones(spec.size), size, spec).shape == size


@pytest.mark.parametrize("size", [(40, 40), (37, 81), (90, 31), (20, 300)])
def test_restore_size_is_complete_for_a_letterbox_and_zero_outside_a_crop(size):
    np.testing.assert_allclose(restore_size(np.ones(LETTERBOX.size), size, LETTERBOX), 1)
    back = restore_size(np.ones(SHORT_SIDE.size), size, SHORT_SIDE)
    assert back[size[0] // 2, size[1] // 2] == 1
    assert back[0].max() == back[-1].max() == back[:, 0].max() == back[:, -1].max() == 0  # 24 of 32 pixels are seen
    share = min(size) * 24 / 32
    assert abs(back.sum() - share**2) <= 0.15 * share**2 + 2 * share


def test_a_letterbox_is_gray_around_an_image():
    wide = Image.new("RGB", (80, 20), (200, 100, 0))
    resized = np.asarray(resize(wide, LETTERBOX))
    np.testing.assert_array_equal(resized[:10], np.full((10, 48, 3), 128))
    np.testing.assert_array_equal(resized[10:22], np.broadcast_to([200, 100, 0], (12, 48, 3)))
    np.testing.assert_array_equal(resized[22:], np.full((10, 48, 3), 128))
    np.testing.assert_array_equal(np.asarray(resize(Image.new("F", (80, 20), 1), LETTERBOX))[:10], 0.5)
    np.testing.assert_array_equal(np.asarray(resize(Image.new("L", (80, 20), 9), LETTERBOX))[0], 128)


def test_short_side_crops_the_center():
    source = np.zeros((64, 128), np.uint8)
    source[:, 32:96] = 255
    spec = InputSpec(size=(32, 32), resize=Resize(policy="short_side", short_side=32, interpolation="box"))
    assert np.asarray(resize(Image.fromarray(source), spec)).min() == 255


def test_antialiasing_averages_and_without_it_points_are_sampled():
    stripes = np.tile(np.array([0, 1], np.float32), (64, 48))
    averaged = np.asarray(resize(Image.fromarray(stripes), filtered(STRETCH, interpolation="bilinear")))
    assert np.abs(averaged - 0.5)[:, 2:-2].max() < 0.1
    source = np.random.default_rng(0).random((65, 150), np.float32)
    sampled = np.asarray(resize(Image.fromarray(source), filtered(STRETCH, interpolation="bilinear", antialias=False)))
    y = np.clip((np.arange(32) + 0.5) * 65 / 32 - 0.5, 0, 64)
    x = np.clip((np.arange(48) + 0.5) * 150 / 48 - 0.5, 0, 149)
    top, left = np.minimum(y.astype(int), 63), np.minimum(x.astype(int), 148)
    dy, dx = (y - top)[:, None], (x - left)[None]
    at = lambda rows, columns: source[rows][:, columns]  # noqa: E731
    upper = at(top, left) * (1 - dx) + at(top, left + 1) * dx
    lower = at(top + 1, left) * (1 - dx) + at(top + 1, left + 1) * dx
    np.testing.assert_allclose(sampled, upper * (1 - dy) + lower * dy, atol=1e-5)


@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_interpolation_equals_pillow(interpolation):
    source = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8))
    resized = resize(source, filtered(STRETCH, interpolation=interpolation))
    expected = source.resize((48, 32), Image.Resampling[interpolation.upper()])
    np.testing.assert_array_equal(np.asarray(resized), np.asarray(expected))


@pytest.mark.parametrize("interpolation", ["box", "hamming", "lanczos"])
def test_filters_that_need_antialiasing_are_rejected_without_it(interpolation):
    with pytest.raises(ConfigError, match="needs antialiasing; expected nearest, bilinear, bicubic"):
        Resize(interpolation=interpolation, antialias=False)


def test_an_image_of_the_right_size_is_unchanged():
    source = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8))
    for spec in (STRETCH, LETTERBOX):
        np.testing.assert_array_equal(np.asarray(resize(source, spec)), np.asarray(source))
