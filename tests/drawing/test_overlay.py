from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from offnormal.drawing.overlay import draw_contour, faint_overlay, gradient, line_width, overlay, scale_for
from offnormal.errors import DataError, UsageError
from tests.evaluations import calibrated

GRAY = np.full((60, 90, 3), 90, np.uint8)


def ramp(low=0.0, high=10.0):
    """A map that rises from left to right."""
    return np.tile(np.linspace(low, high, 90, dtype=np.float32), (60, 1))


def test_the_scale_depends_only_on_the_pixel_threshold():
    calibration = calibrated()
    threshold = calibration.pixel_threshold
    assert scale_for(calibration) == (threshold / 2, threshold * 2)
    assert scale_for(calibration, [ramp()]) == scale_for(calibration, [ramp(high=1e6)])


@pytest.mark.parametrize("threshold", [-3.0, 0.0, 1e-9, 5.0, 1e6])
def test_the_scale_includes_any_threshold(threshold):
    low, high = scale_for(replace(calibrated(), pixel_threshold=threshold))
    assert low < threshold < high


def test_without_a_pixel_threshold_all_maps_share_a_scale():
    maps = [ramp(0, 10), ramp(0, 100)]
    low, high = scale_for(replace(calibrated(), pixel_threshold=None), maps)
    all_values = np.concatenate([values.ravel() for values in maps])
    assert (low, high) == pytest.approx((np.median(all_values), np.percentile(all_values, 99.9)))
    assert scale_for(None) == (0.0, 1.0)
    low, high = scale_for(None, [np.zeros((4, 4), np.float32)])
    assert low < high


def test_below_the_scale_the_image_is_unchanged():
    result = np.asarray(overlay(GRAY, ramp(), threshold=None, low=10.0, high=20.0))
    assert np.array_equal(result, GRAY)


@pytest.mark.parametrize("threshold", [None, 4.0])
def test_brightness_over_black_rises_with_the_map(threshold):
    """Away from the contour; and the same value has the same color."""
    field = ramp()
    result = np.asarray(overlay(np.zeros_like(GRAY), field, threshold=threshold, low=2.0, high=8.0)).astype(int)
    inside = slice(0, 85)  # the contour also closes the region at the border
    bright = result[30, inside] @ (0.2126, 0.7152, 0.0722)
    far_from_contour = np.abs(field[30, inside] - (threshold or -9)) > 0.6
    assert (np.diff(bright[far_from_contour]) > -1).all(), "except for rounding"
    assert bright[-1] > 150 and bright[0] == 0
    assert np.array_equal(result[20, inside], result[30, inside])


def test_a_value_has_the_same_color_in_every_map():
    """Colors are not scaled per image: the color of 3.0 does not depend on a distant peak."""
    quiet, loud = (np.full((60, 90), 3.0, np.float32) for _ in range(2))
    loud[:10, :10] = 500.0
    first, second = (np.asarray(overlay(GRAY, field, threshold=None, low=2, high=8)) for field in (quiet, loud))
    assert np.array_equal(first[40, 60], second[40, 60])


def test_the_contour_is_where_the_map_crosses_the_threshold():
    field = ramp()
    plain = np.asarray(overlay(GRAY, field, threshold=None, low=2.0, high=8.0)).astype(int)
    # a threshold in the middle of the scale changes no color
    lined = np.asarray(overlay(GRAY, field, threshold=5.0, low=2.0, high=8.0)).astype(int)
    columns = np.flatnonzero(
        np.abs(lined - plain).max(axis=2)[30, :85] > 8
    )  # beyond, it closes the region at the border
    crossing = float(np.interp(5.0, field[0], np.arange(90)))
    assert abs(columns - crossing).min() < 1
    assert abs(columns - crossing).max() < 2 * line_width(60, 90) + 1
    inner = lined[30, round(crossing)]
    assert inner.min() > 180, "the core of the line is white"


def test_the_contour_is_closed_at_the_border_and_absent_below_the_threshold():
    field = np.full((60, 90), 3.0, np.float32)
    assert np.array_equal(
        np.asarray(overlay(GRAY, field, threshold=50.0, low=2.0, high=8.0)),
        np.asarray(overlay(GRAY, field, threshold=None, low=2.0, high=8.0)),
    )
    image = Image.fromarray(GRAY)
    draw_contour(image, field, 1.0, width=2.0, line=(255, 255, 255))
    drawn = np.asarray(image)
    assert (drawn[30, 0] != 90).any() and (drawn[0, 45] != 90).any() and (drawn[59, 45] != 90).any()
    assert (drawn[30, 45] == 90).all()


def test_lines_grow_with_the_image():
    assert line_width(100, 100) < line_width(2000, 3000)


def test_the_opacity_of_the_gradient_rises():
    covers = [cover for *_, cover in gradient()]
    assert covers[0] == 0 and covers == sorted(covers) and covers[-1] < 1


@pytest.mark.parametrize(
    ("image", "field", "ends", "error", "message"),
    [
        (GRAY[..., 0], ramp(), (1, 2), DataError, r"expected \(H, W, 3\) uint8"),
        (GRAY.astype(np.float32), ramp(), (1, 2), DataError, "float32"),
        (GRAY, ramp()[:, :-1], (1, 2), DataError, "resize it to the size of the image"),
        (GRAY, ramp(), (2, 2), UsageError, "low < high"),
    ],
)
def test_errors_name_the_invalid_input(image, field, ends, error, message):
    with pytest.raises(error, match=message):
        overlay(image, field, threshold=None, low=ends[0], high=ends[1])


def test_the_heat_map_of_videos_is_fainter_and_only_above_the_threshold():
    photo = Image.fromarray(GRAY)
    faint = np.asarray(faint_overlay(photo, ramp()[::4, ::4], threshold=5.0, low=0.0, high=10.0)).astype(int)
    assert np.array_equal(faint[:, :40], GRAY[:, :40]) and np.abs(faint[:, -5:] - 90).max() > 40
    full = np.asarray(overlay(GRAY, ramp(), threshold=None, low=0.0, high=10.0)).astype(int)
    plain = np.asarray(faint_overlay(photo, ramp(), threshold=None, low=0.0, high=10.0)).astype(int)
    np.testing.assert_allclose(plain[:, -1] - 90, 0.75 * (full[:, -1] - 90), atol=2)
    assert faint_overlay(photo, ramp(high=5.0), threshold=5.0, low=0.0, high=10.0) is photo
