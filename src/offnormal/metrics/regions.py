"""The anomalous regions of masks: 8-connected components, and how many pixels each one has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offnormal.metrics.inputs import BoolArray


def region_sizes(masks: BoolArray, kept: BoolArray) -> tuple[NDArray[np.int32], int]:
    """For each anomalous pixel the size of its region, and the number of regions.

    `masks` is (N, H, W), `kept` (H, W); the sizes come in the order of `masks & kept` in C order. A region
    cut by pixels that are not kept stays one region of its kept pixels, and a region without any does not
    count.

    >>> corner = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]]], dtype=bool)
    >>> region_sizes(corner, np.ones((4, 3), dtype=bool))
    (array([2, 2, 3, 3, 3], dtype=int32), 2)
    """
    from scipy import ndimage

    sizes, regions = [np.zeros(0, dtype=np.int32)], 0
    for mask in masks:
        if not mask.any():
            continue
        numbered, _ = ndimage.label(mask, structure=np.ones((3, 3)))
        region = numbered[mask & kept]
        size = np.bincount(region)
        sizes.append(size[region].astype(np.int32))
        regions += int(np.count_nonzero(size))
    return np.concatenate(sizes), regions
