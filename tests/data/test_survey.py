import numpy as np
import pytest
from PIL import Image

from offnormal.data import survey as survey_module
from offnormal.data.survey import Survey, choose_input, default_side, survey
from offnormal.errors import ConfigError, DataError
from tests.items import image

WIDE = Survey(sizes=[(100, 200)] * 3)


def gray(path, highest, size=(6, 4)):
    values = np.zeros(size[::-1], np.uint16)
    values[0, 0] = highest
    Image.fromarray(values).save(path)
    return image(path)


def test_sizes_are_the_displayed_sizes(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    Image.new("RGB", (6, 4)).save(tmp_path / "b.jpg", exif=exif)
    Image.new("RGB", (6, 4)).save(tmp_path / "c.tif", exif=exif)
    result = survey([image(tmp_path / name) for name in ("a.png", "b.jpg", "c.tif")])
    assert result.sizes == [(4, 6), (6, 4), (6, 4)]
    assert result.levels is None


def test_the_bit_depth_is_that_of_the_brightest_image(tmp_path):
    assert survey([gray(tmp_path / "a.png", 900), gray(tmp_path / "b.png", 3900)]).levels == (0, 4095)
    assert survey([gray(tmp_path / "a.png", 900), gray(tmp_path / "c.tif", 60000)]).levels == (0, 65535)


def test_unreadable_images_are_skipped(tmp_path):
    samples = [gray(tmp_path / "a.png", 4000)]
    for name, content in (("b.png", b""), ("c.jpg", b"text"), ("d.pgm", b"P5 x 3 255\n")):
        (tmp_path / name).write_bytes(content)
        samples.insert(0, image(tmp_path / name))
    truncated = gray(tmp_path / "e.tif", 60000, size=(60, 40)).path
    truncated.write_bytes(truncated.read_bytes()[:2000])
    result = survey([*samples, image(truncated), image(tmp_path / "missing.png")])
    assert (4, 6) in result.sizes
    assert result.levels == (0, 4095)


def test_no_readable_image_is_an_error(tmp_path):
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(DataError, match=r"no readable training image among 2; check the first one, .*a\.png"):
        survey([image(tmp_path / "a.png"), image(tmp_path / "b.png")])
    with pytest.raises(DataError, match="no training items"):
        survey([])


@pytest.mark.parametrize("number", [1, 2000, 2001, 3999, 4001, 10_000])
def test_a_limited_number_of_images_is_surveyed_evenly(tmp_path, monkeypatch, number):
    sizes, depths = [], []
    monkeypatch.setattr(survey_module, "image_size", lambda path, limit: sizes.append(int(path.stem)) or (4, 6))
    monkeypatch.setattr(survey_module, "image_depth", lambda path, limit: depths.append(int(path.stem)))
    survey([image(tmp_path / f"{i}.png") for i in range(number)])
    for looked, limit in ((sizes, 2000), (depths, 32)):
        assert min(number, limit) / 2 <= len(looked) <= limit
        assert looked[0] == 0
        assert number - 1 - looked[-1] < -(-number // limit)


def test_median_aspect_preserves_the_area_of_the_square():
    spec = choose_input(WIDE, size=256, multiple=32)
    assert spec.size == (192, 352)
    assert (spec.resize.policy, spec.resize.interpolation, spec.resize.antialias) == ("median_aspect", "bicubic", True)


@pytest.mark.parametrize("policy", ["stretch", "letterbox"])
def test_other_policies_use_the_square(policy):
    spec = choose_input(WIDE, size=256, multiple=32, policy=policy)
    assert (spec.size, spec.resize.policy, spec.resize.short_side) == ((256, 256), policy, None)


@pytest.mark.parametrize("policy", ["median_aspect", "stretch", "letterbox"])
def test_an_explicit_rectangle_is_used(policy):
    assert choose_input(WIDE, size=(64, 96), multiple=32, policy=policy).size == (64, 96)


def test_short_side_and_crop():
    spec = choose_input(WIDE, size=256, multiple=32, policy="short_side", crop=224)
    assert (spec.size, spec.resize.short_side) == ((224, 224), 256)
    assert choose_input(WIDE, size=256, multiple=32, policy="short_side").size == (256, 256)


def test_filter_and_levels_are_stored():
    spec = choose_input(Survey([(8, 8)], (0, 4095)), size=64, multiple=32, interpolation="bilinear", antialias=False)
    assert (spec.resize.interpolation, spec.resize.antialias, spec.levels) == ("bilinear", False, (0, 4095))


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"size": 256, "crop": 224}, "--crop with --resize median_aspect: expected --resize short_side"),
        ({"size": 256, "crop": 224, "policy": "letterbox"}, "--crop with --resize letterbox"),
        ({"size": (256, 320), "policy": "short_side"}, "expected --size N"),
        ({"size": 128, "crop": 256, "policy": "short_side"}, "expected a crop of at most 128 pixels"),
        ({"size": 250, "policy": "stretch"}, "multiples of 32; use --size 256x256"),
        ({"size": (256, 300)}, "input size 256x300: .* use --size 256x288"),
        ({"size": 256, "crop": 200, "policy": "short_side"}, "use --size 192x192"),
        ({"size": (16, 64)}, "use --size 32x64"),
        ({"size": 256, "interpolation": "lanczos", "antialias": False}, "needs antialiasing"),
    ],
)
def test_contradictory_settings_are_errors_with_advice(settings, advice):
    with pytest.raises(ConfigError, match=advice):
        choose_input(WIDE, multiple=32, **settings)


def test_a_size_for_median_aspect_need_not_be_a_multiple():
    assert choose_input(Survey([(9, 9)]), size=250, multiple=32).size == (256, 256)


SQUARES = (16, 32, 64, 128)


@pytest.mark.parametrize("policy", ["median_aspect", "stretch", "letterbox", "short_side"])
def test_a_detector_of_squares_gets_a_square(policy):
    spec = choose_input(WIDE, size=64, multiple=1, policy=policy, squares=SQUARES)
    assert spec.size == (64, 64)
    assert spec.resize.policy == ("stretch" if policy == "median_aspect" else policy)
    assert choose_input(WIDE, size=(32, 32), multiple=1, squares=SQUARES).size == (32, 32)


@pytest.mark.parametrize(("size", "nearest"), [(48, 32), (100, 128), ((64, 32), 32), ((64, 80), 64), (500, 128)])
def test_other_sizes_for_a_detector_of_squares_are_rejected_with_the_nearest(size, nearest):
    with pytest.raises(ConfigError, match=rf"a side of 16, 32, 64, 128, .*--size {nearest}$"):
        choose_input(WIDE, size=size, multiple=1, squares=SQUARES)


def test_small_images_are_not_enlarged_to_the_default_square():
    assert default_side(Survey([(28, 28)]), 64, SQUARES) == 32
    assert default_side(Survey([(20, 40), (10, 64), (33, 30)]), 64, SQUARES) == 64
    assert default_side(Survey([(300, 200)]), 64, SQUARES) == 64
    assert default_side(Survey([(28, 28)]), 256) == 256


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"size": 20000}, "20000"),
        ({"size": (4096, 4128)}, "4096x4128"),
        ({"size": 20000, "policy": "short_side", "crop": 224}, "20000"),
    ],
)
def test_an_input_beyond_the_budget_is_refused_with_the_number(options, size):
    with pytest.raises(ConfigError, match=rf"--size {size}: [\d,]+ pixels, about [\d.]+ GB.*at most 16,777,216"):
        choose_input(WIDE, multiple=32, **options)
    assert choose_input(WIDE, multiple=32, max_input_pixels=10**9, **options)


def test_training_images_above_the_limit_are_named(tmp_path):
    gray(tmp_path / "a.png", 4000)
    with pytest.raises(DataError, match=r"a\.png: .* pixels; expected at most 3.*--max-image-pixels"):
        survey([image(tmp_path / "a.png")], max_pixels=3)
