from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def golden():
    """Score maps with ties, masks, labels, and their metrics from the reference implementations."""
    with np.load(Path(__file__).parents[1] / "golden" / "padim_auroc.npz") as file:
        return dict(file)


class Tensor:
    """Fake tensor: numpy reads it through `__array__`, unless it needs a gradient."""

    def __init__(self, values, error=None):
        self.values = np.asarray(values)
        self.error = error

    def __array__(self, dtype=None, copy=None):
        if self.error:
            raise self.error
        return self.values if dtype is None else self.values.astype(dtype)


@pytest.fixture
def tensor():
    return Tensor
