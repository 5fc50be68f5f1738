from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from offnormal.metrics.histogram import Histogram, bin_edges

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
def test_every_score_is_counted_in_the_bin_that_holds_it(seen, bins, data):
    edges = bin_edges(np.sort(seen), seen[:0], bins)
    normal, anomalous = (data.draw(hnp.arrays(np.float32, st.integers(0, 20), elements=numbers)) for _ in range(2))
    sizes = np.arange(1, anomalous.size + 1, dtype=np.int32)
    histogram = Histogram.empty(edges)
    histogram.add(np.sort(normal), anomalous, sizes)
    for number, low in enumerate(edges):
        high = edges[number + 1] if number + 1 < edges.size else np.inf
        inside = [place for place, score in enumerate(anomalous) if low <= score < high]
        assert histogram.normal[number] == sum(bool(low <= score < high) for score in normal)
        assert histogram.anomalous[number] == len(inside)
        assert histogram.weight[number] == pytest.approx(sum(1 / sizes[place] for place in inside))
    assert histogram.lowest == min([*normal, *anomalous], default=np.inf)


@given(hnp.arrays(np.float32, (2, 12), elements=numbers), st.integers(2, 40))
@settings(max_examples=40, deadline=None)
def test_a_sum_of_histograms_loses_no_pixel_and_keeps_only_common_edges(seen, bins):
    parts = []
    for scores in np.sort(seen):
        part = Histogram.empty(bin_edges(scores, scores[:0], bins))
        part.add(scores, scores[3:7], np.full(4, 2, np.int32))
        parts.append(part)
    merged = parts[0].merged(parts[1])
    assert set(merged.edges) == set(parts[0].edges) & set(parts[1].edges)
    at = np.searchsorted(merged.edges, seen.ravel(), side="right") - 1
    assert merged.normal.tolist() == np.bincount(at, minlength=merged.edges.size).tolist()
    assert (merged.anomalous.sum(), merged.weight.sum(), merged.lowest) == (8, 4, seen.min())


def test_normal_pixels_of_a_bin_are_above_it_only_from_the_next_one_on():
    made = Histogram.empty(np.array([0, 1, 2], np.float32))
    made.add(np.array([0.5, 1.5, 1.6, 2.5], np.float32), np.array([1.2], np.float32), np.array([1], np.int32))
    steps = made.steps()
    assert (steps.normal_above.tolist(), steps.normal_through.tolist(), steps.normals) == ([1], [3], 4)
