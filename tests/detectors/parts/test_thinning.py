import numpy as np
import pytest

from offnormal.data.batches import Batch
from offnormal.detectors.parts.thinning import thin_out


class Numbers:
    """A loader of so many numbers."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __iter__(self):
        for start in range(0, self.count, 4):
            numbers = list(range(start, min(start + 4, self.count)))
            yield Batch(np.array(numbers), numbers, None)


@pytest.mark.parametrize(("most", "expected"), [(100, list(range(11))), (6, [0, 2, 4, 6, 8, 10]), (2, [0, 6])])
def test_samples_are_spread_over_all_batches(most, expected):
    found = list(thin_out(Numbers(11), most))
    assert np.concatenate([batch.pixels for batch in found]).tolist() == expected
    assert [sample for batch in found for sample in batch.samples] == expected
