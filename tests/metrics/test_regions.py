from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from offnormal.metrics.regions import region_sizes

from . import naive


@given(hnp.arrays(np.bool_, (3, 5, 6)), hnp.arrays(np.bool_, (5, 6), elements=st.sampled_from([True, True, False])))
@settings(max_examples=60, deadline=None)
def test_equals_flood_fill(masks, kept):
    sizes, regions = region_sizes(masks, kept)
    expected = np.zeros(masks.shape, int)
    count = 0
    for mask, size in zip(masks, expected, strict=True):
        for region in naive.regions(mask):
            left = [pixel for pixel in region if kept[pixel]]
            count += bool(left)
            for pixel in left:
                size[pixel] = len(left)
    assert (sizes.tolist(), regions) == (expected[masks & kept].tolist(), count)


def test_masks_without_an_anomalous_pixel_have_no_region():
    sizes, regions = region_sizes(np.zeros((2, 3, 4), bool), np.ones((3, 4), bool))
    assert (sizes.size, regions) == (0, 0)
