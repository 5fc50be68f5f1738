from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from offnormal.errors import DataError, UsageError
from offnormal.metrics import pixel
from offnormal.metrics.pixel import region_sizes

from . import naive

MASKS = np.zeros((2, 4, 5), np.uint8)
MASKS[0, 1:3, 1] = 255
MASKS[1, 3, 4] = 1


@st.composite
def labeled_maps(draw):
    """Masks with normal and anomalous pixels, and maps of a few values, so ties are frequent."""
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(2, 6)))
    masks = draw(hnp.arrays(np.bool_, shape))
    masks[0, 0, 0], masks[-1, -1, -1] = True, False
    maps = draw(hnp.arrays(np.int64, shape, elements=st.integers(-6, 6)))
    return masks, maps.astype(np.float32)


@given(labeled_maps(), st.sampled_from([0.01, 0.05, 0.3, 0.77, 1.0]))
@settings(max_examples=100, deadline=None)
def test_equals_the_naive_loops(data, limit):
    masks, maps = data
    labels, scores = masks.ravel().tolist(), maps.ravel().tolist()
    assert pixel.auroc(masks, maps) == pytest.approx(naive.auroc(labels, scores), abs=1e-12)
    assert pixel.aupro(masks, maps, limit) == pytest.approx(naive.aupro(masks, maps, limit), abs=1e-12)
    f1, threshold = pixel.best_f1(masks, maps)
    hits, false, missed = naive.at_threshold(labels, scores, threshold)
    assert f1 == pytest.approx(naive.best_f1(labels, scores)[0], abs=1e-12)
    assert f1 == pytest.approx(2 * hits / (2 * hits + false + missed), abs=1e-12)


@given(labeled_maps(), st.data())
@settings(max_examples=40, deadline=None)
def test_ignored_pixels_do_not_count(data, draw):
    masks, maps = data
    ignore = draw.draw(hnp.arrays(np.bool_, masks.shape[1:]))
    ignore[0, 0] = ignore[-1, -1] = False
    labels, scores = masks[:, ~ignore].ravel().tolist(), maps[:, ~ignore].ravel().tolist()
    hidden = np.where(ignore, np.nan, maps)
    assert pixel.auroc(masks, hidden, ignore) == pytest.approx(naive.auroc(labels, scores), abs=1e-12)
    assert pixel.best_f1(masks, hidden, ignore)[0] == pytest.approx(naive.best_f1(labels, scores)[0], abs=1e-12)
    assert pixel.aupro(masks, hidden, 0.6, ignore) == pytest.approx(naive.aupro(masks, maps, 0.6, ignore), abs=1e-12)


@given(labeled_maps())
@settings(max_examples=30, deadline=None)
def test_only_the_order_of_the_scores_counts(data):
    masks, maps = data
    stretched = np.exp(maps.astype(np.float64)) - 3
    assert pixel.auroc(masks, stretched) == pytest.approx(pixel.auroc(masks, maps), abs=1e-12)
    assert pixel.aupro(masks, stretched) == pytest.approx(pixel.aupro(masks, maps), abs=1e-12)
    assert pixel.best_f1(masks, stretched)[0] == pixel.best_f1(masks, maps)[0]


def test_equals_the_reference_implementations(golden):
    masks, maps = golden["masks"], golden["scores"]
    assert pixel.auroc(masks, maps) == pytest.approx(float(golden["pixel_auroc"]), abs=1e-9)
    f1, threshold = pixel.best_f1(masks, maps)
    assert f1 == pytest.approx(float(golden["f1_max"]), abs=1e-9)
    assert threshold == golden["f1_threshold"]
    for name, limit in (("0p05", 0.05), ("0p3", 0.3), ("1p0", 1.0)):
        value = pixel.aupro(masks, maps, limit)
        assert value == pytest.approx(float(golden[f"au_pro_exact_{name}"]), abs=1e-9)
        assert value == pytest.approx(float(golden[f"au_pro_{name}"]), abs=1e-3)


def test_equal_f1_gives_the_lowest_threshold():
    assert pixel.best_f1([[[1, 0, 0, 1]]], [[[4, 3, 2, 1]]]) == (pytest.approx(2 / 3), 1.0)


def test_regions_touch_at_corners_and_never_across_images():
    masks = np.zeros((2, 3, 4), bool)
    masks[0, 0, 0] = masks[0, 1, 1] = True  # one region by the corner
    masks[0, 2, 3] = masks[1, 2, 3] = True  # the same position in two images: two regions
    maps = np.where(masks, 0.0, 1.0)
    maps[0, 0, 0] = 2.0
    assert pixel.aupro(masks, maps) == pytest.approx(1 / 6)  # half of one region in three


def test_regions_have_equal_weight():
    masks = np.zeros((1, 8, 8), bool)
    masks[0, 0, 0], masks[0, 3:, 3:] = True, True
    maps = masks.astype(float)
    maps[0, 0, 0] = -1  # the small region is missed until every pixel is above the threshold
    assert pixel.aupro(masks, maps) == pytest.approx(0.5)
    assert pixel.auroc(masks, maps) == pytest.approx(25 / 26)


def test_a_region_cut_by_ignored_pixels_stays_one_region():
    masks = np.array([[[1, 1, 1, 0, 1, 0, 0]]])
    ignore = np.array([[0, 1, 0, 0, 0, 0, 0]])
    maps = np.array([[[5.0, 0, 0, 1, 5, 1, 1]]])
    assert pixel.aupro(masks, maps, 0.3, ignore) == pytest.approx(0.75)  # half of the first, all of the second


def test_scores_that_differ_only_in_float64_are_distinct():
    maps = np.array([[[1.0, 1.0 + 1e-12]]])
    assert pixel.auroc([[[0, 1]]], maps) == 1.0


def test_masks_and_maps_may_have_a_channel_axis_and_other_types(tensor):
    maps = np.arange(40, dtype=np.float16).reshape(2, 4, 5)
    plain = pixel.aupro(MASKS, maps)
    assert pixel.aupro(MASKS[:, None], maps[:, None]) == plain
    assert pixel.aupro(tensor(MASKS / 255.0), tensor(maps.astype(np.int64))) == plain
    assert pixel.aupro(MASKS.tolist(), maps.tolist()) == plain


NAN_MAP = np.where(np.arange(40).reshape(2, 4, 5) == 7, np.nan, 1.0)


@pytest.mark.parametrize("function", [pixel.auroc, pixel.aupro, pixel.best_f1])
@pytest.mark.parametrize(
    ("masks", "maps", "ignore", "message"),
    [
        (
            MASKS,
            np.ones((2, 5, 4)),
            None,
            r"shapes \(2, 4, 5\) and \(2, 5, 4\); .* resize the maps to the masks",
        ),
        (MASKS[0], np.ones((4, 5)), None, r"masks: shape \(4, 5\); expected \(N, H, W\)"),
        (MASKS, np.ones((2, 3, 4, 5)), None, r"maps: shape \(2, 3, 4, 5\)"),
        (MASKS, NAN_MAP, None, r"maps: 1 of 40 values are NaN or infinite, the first at position 7"),
        (NAN_MAP, np.ones((2, 4, 5)), None, r"masks: 1 of 40 values are NaN"),
        (MASKS, np.ones((2, 4, 5)), np.zeros((5, 4)), r"ignore: shape \(5, 4\); expected \(4, 5\)"),
        (MASKS, np.ones((2, 4, 5)), np.ones((4, 5)), r"ignore: covers every pixel"),
        (np.zeros((0, 4, 5)), np.ones((0, 4, 5)), None, r"masks: no values"),
        (
            np.zeros((2, 4, 5)),
            np.ones((2, 4, 5)),
            None,
            r"pixels: all 40 are normal; .* add anomalous ones",
        ),
        (
            np.ones((2, 4, 5)),
            np.ones((2, 4, 5)),
            None,
            r"pixels: all 40 are anomalous; .* add normal ones",
        ),
    ],
)
def test_errors_name_the_argument_and_the_fix(function, masks, maps, ignore, message):
    with pytest.raises(DataError, match=message):
        function(masks, maps, ignore=ignore)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.5, float("nan")])
def test_a_limit_outside_its_range_is_refused(limit):
    with pytest.raises(UsageError, match="expected a share of the normal pixels above 0 and at most 1"):
        pixel.aupro(MASKS, np.ones((2, 4, 5)), limit)


@given(hnp.arrays(np.bool_, (3, 5, 6)), hnp.arrays(np.bool_, (5, 6), elements=st.sampled_from([True, True, False])))
@settings(max_examples=60, deadline=None)
def test_equals_flood_fill(masks, counted):
    sizes, regions = region_sizes(masks, counted)
    expected = np.zeros(masks.shape, int)
    count = 0
    for mask, size in zip(masks, expected, strict=True):
        for region in naive.regions(mask):
            pixels = [position for position in region if counted[position]]
            count += bool(pixels)
            for position in pixels:
                size[position] = len(pixels)
    assert (sizes.tolist(), regions) == (expected[masks & counted].tolist(), count)


def test_masks_without_an_anomalous_pixel_have_no_region():
    sizes, regions = region_sizes(np.zeros((2, 3, 4), bool), np.ones((3, 4), bool))
    assert (sizes.size, regions) == (0, 0)
