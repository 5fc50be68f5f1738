import numpy as np
import pytest
from offnormal.metrics.item_use import ItemShares, ItemUse


def test_shares_are_those_of_all_batches_together():
    rng = np.random.default_rng(0)
    recalled, labels = rng.random((20, 6)), [0, 1, None, 0] * 5
    use = ItemUse()
    for start in range(0, 20, 7):
        use.update(recalled[start : start + 7], labels[start : start + 7])
    found = use.compute()
    for label, shares in ((0, found.normal), (1, found.anomalous)):
        rows = np.array([row for row, known in zip(recalled, labels, strict=True) if known == label])
        np.testing.assert_allclose(shares, rows.sum(0) / rows.sum())


def test_without_samples_or_with_one_kind_only():
    assert ItemUse().compute() is None
    use = ItemUse()
    use.update(np.ones((2, 3)), [0, None])
    found = use.compute()
    assert found.normal.tolist() == pytest.approx([1 / 3] * 3)
    assert not found.anomalous.any()


def test_used_and_overlap():
    found = ItemShares(np.array([0.5, 0.5, 0.0, 0.0]), np.array([0.0, 0.2, 0.79995, 0.00005]))
    assert (found.used(found.normal), found.used(found.anomalous)) == (2, 2)
    assert found.overlap == pytest.approx(0.2)
