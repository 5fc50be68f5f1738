import json
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from offnormal.errors import ConfigError
from offnormal.sources.privacy import mask_id, paint, paint_image, parse_mask, rasterize_mask, read_privacy_mask
from offnormal.types import Mask

CORNER = (((0.0, 0.0), (0.5, 0.0), (0.0, 0.5)),)


def naive_area(polygon, size):
    """Pixels whose center lies in a convex polygon, its corners being the centers of the outermost pixels."""
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
    found = rasterize_mask(Mask(CORNER), size)
    wanted = naive_area(CORNER[0], size)
    assert found[wanted].all()
    assert (found & ~wanted).sum() <= sum(size)


def test_a_mask_image_paints_every_pixel_that_it_touches(tmp_path):
    marked = np.zeros((10, 10), np.uint8)
    marked[3, 4] = 255
    Image.fromarray(marked).save(tmp_path / "mask.png")
    mask = read_privacy_mask(tmp_path / "mask.png")
    found = np.argwhere(rasterize_mask(mask, (5, 7)))  # smaller: 4 / 10 lies in column 2 and, to its end, in 3
    assert {tuple(one) for one in found.tolist()} == {(1, 2), (1, 3)}
    assert rasterize_mask(mask, (100, 100)).sum() >= 100


def test_painted_areas_are_black_and_the_rest_is_unchanged():
    image = np.random.default_rng(0).integers(1, 256, (30, 40, 3), np.uint8)
    before = image.copy()
    found = paint(image, Mask(CORNER))
    covered = rasterize_mask(Mask(CORNER), (30, 40))
    assert not found[covered].any()
    np.testing.assert_array_equal(found[~covered], before[~covered])
    np.testing.assert_array_equal(image, before)
    assert paint(image, None) is image


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "I;16", "F", "1", "CMYK"])
def test_images_of_every_mode_are_painted_black(mode):
    source = Image.effect_noise((40, 30), 80)
    if mode == "I;16":
        picture = Image.new("I;16", (40, 30), 4000)
    else:
        picture = source.convert("RGB").convert(mode) if mode in ("CMYK", "P") else source.convert(mode)
    shown = np.asarray(paint_image(picture, Mask(CORNER)).convert("F" if mode in ("I;16", "F") else "RGB"))
    assert not shown[rasterize_mask(Mask(CORNER), (30, 40))].any()
    assert shown.any()


@pytest.mark.parametrize("wrapped", [False, True])
def test_polygons_are_read_from_yaml_and_json(tmp_path, wrapped):
    plain = [[list(corner) for corner in polygon] for polygon in CORNER]
    path = tmp_path / "mask.yaml"
    path.write_text(json.dumps({"polygons": plain} if wrapped else plain))
    assert read_privacy_mask(path) == Mask(CORNER)


def test_a_mask_round_trips_and_is_identified_by_its_content():
    mask = Mask(CORNER)
    again = parse_mask(json.loads(json.dumps(asdict(mask))))
    assert again == mask
    assert mask_id(again) == mask_id(mask) != mask_id(Mask(CORNER * 2))
    assert mask_id(None) is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[[[0, 0], [1, 0]]]", "3 corners"),
        ("[[[0, 0], [1, 0], [1.5, 1]]]", "0 to 1"),
        ("[[[0, 0], [1, 0], [1, 1], [0, 1]]]", "not all"),
        ("[]", "paints 0%"),
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
