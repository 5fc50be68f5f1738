"""Unbroken runs of flags, and how long frames last."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Unbroken runs of true in flags (T,), as (start, stop) with start <= i < stop.

    >>> runs(np.array([0, 1, 1, 0, 1], bool))
    [(1, 3), (4, 5)]
    """
    turns = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(start), int(stop)) for start, stop in turns.reshape(-1, 2)]
