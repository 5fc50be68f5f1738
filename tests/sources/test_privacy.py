import json
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from offnormal.errors import ConfigError
from offnormal.sources.privacy import paint, paint_image, parse_mask, rasterize_mask, read_privacy_mask
from offnormal.types import Mask

CORNER = (((0.0, 0.0), (0.5, 0.0), (0.0, 0.5)),)


def naive_area(polygon, size):
    """Pixels with the center in a convex polygon; coordinates 0 and 1 are the centers of the outermost pixels."""
    corners = [(x * (size[1] - 1), y * (size[0] - 1)) for x, y in polygon]
    edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
    inside = np.zeros(size, bool)
    for y in range(size[0]):
        for x in range(size[1]):
            turns = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for (ax, ay), (bx, by) in edges]
            inside[y, x] = min(turns) >= 0 or max(turns) <= 0
    return inside


@pytest.mark.parametrize("size", [(40, 60), (7, 5), (1, 1)])
def test_a_polygon_paints_its_inside_and_little_more(size):
    painted = rasterize_mask(Mask(CORNER), size)
    expected = naive_area(CORNER[0], size)
    assert painted[expected].all()
    assert (painted & ~expected).sum() <= sum(size)


def test_a_mask_image_paints_every_pixel_that_it_touches(tmp_path):
    marks = np.zeros((10, 10), np.uint8)
    marks[3, 4] = 255
    Image.fromarray(marks).save(tmp_path / "mask.png")
    mask = read_privacy_mask(tmp_path / "mask.png")
    painted = np.argwhere(rasterize_mask(mask, (5, 7)))  # downscaled: column 4 of 10 overlaps columns 2 and 3
    assert {tuple(index) for index in painted.tolist()} == {(1, 2), (1, 3)}
    assert rasterize_mask(mask, (100, 100)).sum() >= 100


def test_painted_areas_are_black_and_the_rest_is_unchanged():
    image = np.random.default_rng(0).integers(1, 256, (30, 40, 3), np.uint8)
    before = image.copy()
    painted = paint(image, Mask(CORNER))
    covered = rasterize_mask(Mask(CORNER), (30, 40))
    assert not painted[covered].any()
    np.testing.assert_array_equal(painted[~covered], before[~covered])
    np.testing.assert_array_equal(image, before)
    assert paint(image, None) is image


@pytest.mark.parametrize("mode", ["RGB", "L", "F"])
def test_images_of_every_mode_are_painted_black(mode):
    image = Image.effect_noise((40, 30), 80).convert(mode)
    painted_image = np.asarray(paint_image(image, Mask(CORNER)))
    assert not painted_image[rasterize_mask(Mask(CORNER), (30, 40))].any()
    assert painted_image.any()


@pytest.mark.parametrize("wrapped", [False, True])
def test_polygons_are_read_from_yaml_and_json(tmp_path, wrapped):
    plain = [[list(corner) for corner in polygon] for polygon in CORNER]
    path = tmp_path / "mask.yaml"
    path.write_text(json.dumps({"polygons": plain} if wrapped else plain))
    assert read_privacy_mask(path) == Mask(CORNER)


def test_a_mask_is_stored_and_restored():
    mask = Mask(CORNER)
    restored = parse_mask(json.loads(json.dumps(asdict(mask))))
    assert restored == mask


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[[[0, 0], [1, 0]]]", "3 or more corners"),
        ("[[[0, 0], [1, 0], [1.5, 1]]]", "0 to 1"),
        ("[[[0, 0], [1, 0], [1, 1], [0, 1]]]", "expected a part"),
        ("[]", "covers 0 %"),
        ("zones: []", "expected polygons"),
        ("hello", "not a mask"),
        ("{polygons: [[1, 2], 3]}", "not a mask"),
        ("{image: '!!'}", "damaged"),
    ],
)
def test_errors_name_the_file_that_is_not_a_mask(tmp_path, content, says):
    path = tmp_path / "mask.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=says):
        read_privacy_mask(path)
    with pytest.raises(ConfigError, match="no such file"):
        read_privacy_mask(tmp_path / "none.yaml")
