from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from offnormal.errors import DataError, UsageError
from offnormal.metrics import pixel
from offnormal.metrics.accumulate import Histogram, PixelScores, bin_edges

VALUES = ("auroc", "aupro", "f1", "f1_threshold")


@st.composite
def batches(draw):
    """Up to five batches of coarse scores with ties, or any float32; some without an anomalous pixel."""
    shape = (draw(st.integers(1, 2)), draw(st.integers(2, 5)), draw(st.integers(2, 5)))
    coarse = st.integers(-3, 3).map(float)
    any_number = st.floats(allow_nan=False, allow_infinity=False, width=32)
    result = []
    for number in range(draw(st.integers(1, 5))):
        masks = draw(st.one_of(st.just(np.zeros(shape, bool)), hnp.arrays(np.bool_, shape)))
        masks[0, 0, 0] = number == 0 or masks[0, 0, 0]
        masks[-1, -1, -1] = False
        result.append(
            (masks, draw(hnp.arrays(np.float32, shape, elements=draw(st.sampled_from([coarse, any_number])))))
        )
    return result


def collect(data, **options):
    scores = PixelScores(**options)
    for masks, maps in data:
        scores.update(masks, maps)
    return scores


def concatenate(data):
    return tuple(np.concatenate(part) for part in zip(*data, strict=True))


def assert_within_bounds(result, data):
    """The exact values are within the error bounds of the result; the exact F1 is not lower."""
    masks, maps = concatenate(data)
    assert abs(result.auroc - pixel.auroc(masks, maps)) <= result.auroc_error_bound + 1e-12
    assert abs(result.aupro - pixel.aupro(masks, maps)) <= result.aupro_error_bound + 1e-12
    missing = pixel.best_f1(masks, maps)[0] - result.f1
    assert -1e-12 <= missing <= result.f1_error_bound + 1e-12
    assert maps.min() <= result.f1_threshold <= maps.max()
    called = maps >= np.float64(result.f1_threshold)
    hits, wrong = np.sum(called & masks), np.sum(called != masks)
    assert result.f1 == pytest.approx(2 * hits / (2 * hits + wrong), abs=1e-12)


@given(batches())
@settings(max_examples=60, deadline=None)
def test_batches_equal_all_images_at_once(data):
    masks, maps = concatenate(data)
    result = collect(data).compute()
    assert result.exact
    assert (result.auroc_error_bound, result.aupro_error_bound, result.f1_error_bound) == (0, 0, 0)
    assert result.pixels == masks.size
    assert result.auroc == pytest.approx(pixel.auroc(masks, maps), abs=1e-12)
    assert result.aupro == pytest.approx(pixel.aupro(masks, maps), abs=1e-12)
    assert (result.f1, result.f1_threshold) == pixel.best_f1(masks, maps)


@given(batches(), st.integers(0, 120), st.sampled_from([2, 3, 8, 40, 4096]))
@settings(max_examples=150, deadline=None)
def test_the_histogram_is_within_its_error_bounds(data, max_pixels, bins):
    scores = collect(data, max_pixels=max_pixels, bins=bins)
    result = scores.compute()
    assert result.exact == (result.pixels <= max_pixels)
    assert_within_bounds(result, data)


@given(
    batches(),
    st.randoms(use_true_random=False),
    st.lists(st.sampled_from([0, 30, 1000]), min_size=5, max_size=5),
)
@settings(max_examples=100, deadline=None)
def test_merging_in_any_order_gives_equal_results(data, random, limits):
    parts = [collect([batch], max_pixels=limit, bins=32) for batch, limit in zip(data, limits, strict=False)]
    random.shuffle(parts)
    while len(parts) > 1:
        part = parts.pop(random.randrange(len(parts)))
        parts[random.randrange(len(parts))].merge(part)
    result = parts[0].compute()
    assert (result.pixels, result.regions) == (concatenate(data)[0].size, collect(data).compute().regions)
    assert_within_bounds(result, data)
    if result.exact:
        for name in VALUES:
            assert getattr(result, name) == pytest.approx(getattr(collect(data).compute(), name), abs=1e-12)


def synthetic_maps(seed=0, count=24, side=40):
    """Noise with brighter squares, similar to anomaly maps; every second image is normal."""
    random = np.random.default_rng(seed)
    masks = np.zeros((count, side, side), bool)
    for mask in masks[::2]:
        row, column = random.integers(0, side - 8, 2)
        mask[row : row + random.integers(1, 8), column : column + 5] = True
    return masks, (random.gamma(4, size=masks.shape) + masks * random.uniform(0, 9, (count, 1, 1))).astype(np.float32)


@pytest.mark.parametrize("order", ["mixed", "normal first", "anomalous first", "rising", "falling"])
def test_the_bounds_are_tight_for_any_order_of_images(order):
    masks, maps = synthetic_maps()
    if order == "rising":  # every batch goes far above the scores of the bins
        maps = (maps * np.arange(1, 1 + len(maps))[:, None, None]).astype(np.float32)
    if order == "falling":
        maps -= np.arange(len(maps), dtype=np.float32)[:, None, None]
    anomalous = masks.any(axis=(1, 2))
    rows = {"normal first": np.argsort(anomalous), "anomalous first": np.argsort(~anomalous)}.get(
        order, np.arange(len(masks))
    )
    data = [(masks[at], maps[at]) for at in np.array_split(rows, 6)]
    result = collect(data, max_pixels=masks.size // 4, bins=4096).compute()
    assert not result.exact
    assert_within_bounds(result, data)
    assert result.auroc_error_bound < 2e-3
    assert result.aupro_error_bound < 2e-3
    assert result.f1_error_bound < 1e-2


def test_merged_histograms_of_similar_images_have_tight_bounds():
    data = [tuple(part[at : at + 8] for part in synthetic_maps()) for at in (0, 8, 16)]
    parts = [collect([batch], max_pixels=0, bins=4096) for batch in data]
    parts[0].merge(parts[1])
    parts[0].merge(parts[2])
    result = parts[0].compute()
    assert_within_bounds(result, data)
    assert result.auroc_error_bound < 2e-3
    assert result.aupro_error_bound < 4e-3


def test_histograms_merge_equally_in_every_order():
    masks, maps = synthetic_maps(count=12)
    results = []
    for order in itertools.permutations(range(3)):
        parts = [collect([(masks[at::3], maps[at::3])], max_pixels=0, bins=64) for at in order]
        parts[0].merge(parts[1])
        parts[0].merge(parts[2])
        results.append(dataclasses.astuple(parts[0].compute()))
    for result in results[1:]:
        assert result == pytest.approx(results[0], abs=1e-12)


def test_frequent_single_values_are_exact():
    masks, maps = synthetic_maps(count=8)
    data = [(masks, np.round(maps)), (masks, np.round(maps[::-1]))]
    result = collect(data, max_pixels=0, bins=2048).compute()
    assert (result.auroc_error_bound, result.aupro_error_bound, result.f1_error_bound) == (0, 0, 0)
    assert_within_bounds(result, data)


def test_memory_is_bounded():
    scores = PixelScores(max_pixels=5000, bins=512)
    masks, maps = synthetic_maps(count=1)
    sizes = []
    for number in range(12):
        scores.update(masks, maps + number)
        chunks = [*scores._normal, *scores._anomalous, *scores._region_size]
        assert all(chunk.dtype.itemsize == 4 for chunk in chunks)
        sizes.append(sum(chunk.size for chunk in chunks))
    assert max(sizes) <= 5000 + np.count_nonzero(masks) * 3
    assert sizes[-1] == 0
    assert scores._histogram is not None
    assert scores._histogram.edges.size <= 512


@pytest.mark.parametrize(("pixels", "exact"), [(6, True), (5, False)])
def test_results_are_exact_up_to_max_pixels(pixels, exact):
    assert (
        collect([([[[0, 0, 1]], [[0, 0, 1]]], [[[1, 2, 3]], [[4, 5, 6]]])], max_pixels=pixels).compute().exact == exact
    )


def test_no_pixels_and_one_class_give_no_metrics():
    empty = PixelScores()
    assert empty.compute() == dataclasses.replace(empty.compute(), auroc=None, pixels=0, regions=0, exact=True)
    for max_pixels, masks in itertools.product((100, 0), (np.zeros((1, 2, 3)), np.ones((1, 2, 3)))):
        result = collect([(masks, np.arange(6.0).reshape(1, 2, 3))], max_pixels=max_pixels).compute()
        assert [getattr(result, name) for name in VALUES] == [None] * 4
        assert (result.pixels, result.regions, result.exact) == (6, int(masks.any()), max_pixels == 100)


def test_collecting_continues_after_a_result_and_a_merge_does_not_change_its_argument():
    masks, maps = synthetic_maps(count=4)
    first, second = collect([(masks[:2], maps[:2])]), collect([(masks[2:], maps[2:])])
    before = second.compute()
    first.compute()
    first.merge(second)
    assert second.compute() == before
    assert first.compute() == first.compute() == collect([(masks, maps)]).compute()
    first.merge(first)
    assert first.compute().pixels == 2 * maps.size
    assert first.compute().auroc == pytest.approx(pixel.auroc(masks, maps), abs=1e-12)


def test_ignored_pixels_and_different_sizes():
    masks, maps = synthetic_maps(count=2)
    ignore = np.zeros(masks.shape[1:], bool)
    ignore[:, ::2] = True
    scores = PixelScores(fpr_limit=0.1)
    scores.update(masks, np.where(ignore, np.nan, maps), ignore)
    assert scores.compute().aupro == pytest.approx(pixel.aupro(masks, maps, 0.1, ignore), abs=1e-12)
    assert scores.compute().pixels == masks.size // 2
    scores.update(masks[:, None, :9, :7], maps[:, None, :9, :7])
    assert scores.compute().pixels == masks.size // 2 + 126


def test_equals_the_reference_implementation(golden):
    result = collect([(golden["masks"], golden["scores"])]).compute()
    assert result.auroc == pytest.approx(float(golden["pixel_auroc"]), abs=1e-9)
    assert result.aupro == pytest.approx(float(golden["au_pro_exact_0p3"]), abs=1e-9)
    assert (result.f1, result.f1_threshold) == (
        pytest.approx(float(golden["f1_max"])),
        golden["f1_threshold"],
    )
    assert result.regions == golden["n_regions"]


def test_an_error_adds_no_pixels():
    scores = PixelScores()
    with pytest.raises(DataError, match="maps as float32: 1 of 3 values are NaN or infinite"):
        scores.update([[[0, 0, 0, 1]]], [[[0.0, 1.0, 1e300, 2.0]]])
    with pytest.raises(DataError, match=r"shapes \(1, 1, 2\) and \(1, 1, 1\)"):
        scores.update([[[0, 1]]], [[[0.0]]])
    assert scores.compute().pixels == 0
    with pytest.raises(UsageError, match=r"fpr_limit 0\.3 and 0\.1 of merged pixel scores; expected the same limit"):
        scores.merge(PixelScores(fpr_limit=0.1))
    with pytest.raises(UsageError, match="fpr_limit=2"):
        PixelScores(fpr_limit=2)
    with pytest.raises(UsageError, match="max_pixels=-1, bins=2; expected at least 0 pixels and 2 bins"):
        PixelScores(max_pixels=-1, bins=2)
    with pytest.raises(UsageError, match="max_pixels=0, bins=1; expected at least"):
        PixelScores(max_pixels=0, bins=1)


numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.mark.parametrize("bins", [2, 5, 64, 1000])
def test_bins_cover_every_number_and_are_finer_at_the_top(bins):
    normal = np.sort(np.random.default_rng(0).normal(3, 1, 20_000)).astype(np.float32)
    edges = bin_edges(normal, normal[:0], bins)
    assert edges.size <= bins
    assert edges[0] == -np.inf
    assert np.all(np.diff(edges) > 0)
    if bins == 1000:
        inside = np.diff(np.searchsorted(normal, edges))
        above = np.searchsorted(normal, edges[1:])
        assert inside[above <= 10_000].max() < 20_000 / bins * 8
        assert inside[above > 19_800].max() * 5 < inside[(above > 9_000) & (above < 11_000)].max()
        assert np.count_nonzero(edges > normal[-1]) > bins / 10


@given(hnp.arrays(np.float32, st.integers(1, 30), elements=numbers), st.integers(2, 40), st.data())
@settings(max_examples=60, deadline=None)
def test_every_score_is_counted_in_its_bin(scores, bins, data):
    edges = bin_edges(np.sort(scores), scores[:0], bins)
    normal, anomalous = (data.draw(hnp.arrays(np.float32, st.integers(0, 20), elements=numbers)) for _ in range(2))
    sizes = np.arange(1, anomalous.size + 1, dtype=np.int32)
    histogram = Histogram.empty(edges)
    histogram.add(np.sort(normal), anomalous, sizes)
    for number, low in enumerate(edges):
        high = edges[number + 1] if number + 1 < edges.size else np.inf
        inside = [index for index, score in enumerate(anomalous) if low <= score < high]
        assert histogram.normal[number] == sum(bool(low <= score < high) for score in normal)
        assert histogram.anomalous[number] == len(inside)
        assert histogram.weight[number] == pytest.approx(sum(1 / sizes[index] for index in inside))
    assert histogram.lowest == min([*normal, *anomalous], default=np.inf)


@given(hnp.arrays(np.float32, (2, 12), elements=numbers), st.integers(2, 40))
@settings(max_examples=40, deadline=None)
def test_a_sum_of_histograms_has_all_pixels_and_the_common_edges(rows, bins):
    parts = []
    for scores in np.sort(rows):
        part = Histogram.empty(bin_edges(scores, scores[:0], bins))
        part.add(scores, scores[3:7], np.full(4, 2, np.int32))
        parts.append(part)
    merged = parts[0].merge(parts[1])
    assert set(merged.edges) == set(parts[0].edges) & set(parts[1].edges)
    at = np.searchsorted(merged.edges, rows.ravel(), side="right") - 1
    assert merged.normal.tolist() == np.bincount(at, minlength=merged.edges.size).tolist()
    assert (merged.anomalous.sum(), merged.weight.sum(), merged.lowest) == (8, 4, rows.min())


def test_normal_pixels_of_a_bin_do_not_count_as_above_it():
    histogram = Histogram.empty(np.array([0, 1, 2], np.float32))
    histogram.add(np.array([0.5, 1.5, 1.6, 2.5], np.float32), np.array([1.2], np.float32), np.array([1], np.int32))
    steps = histogram.steps()
    assert (steps.normal_above.tolist(), steps.normal_through.tolist(), steps.normals) == ([1], [3], 4)
