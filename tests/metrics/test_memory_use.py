import numpy as np
import pytest

from offnormal.metrics.memory_use import MemoryShares, MemoryUse


def test_shares_are_of_all_batches_together():
    rng = np.random.default_rng(0)
    recalled, labels = rng.random((20, 6)), [0, 1, None, 0] * 5
    use = MemoryUse()
    for start in range(0, 20, 7):
        use.update(recalled[start : start + 7], labels[start : start + 7])
    use_shares = use.compute()
    for label, shares in ((0, use_shares.normal), (1, use_shares.anomalous)):
        rows = np.array([row for row, row_label in zip(recalled, labels, strict=True) if row_label == label])
        np.testing.assert_allclose(shares, rows.sum(0) / rows.sum())


def test_no_samples_and_samples_of_one_class():
    assert MemoryUse().compute() is None
    use = MemoryUse()
    use.update(np.ones((2, 3)), [0, None])
    use_shares = use.compute()
    assert use_shares.normal.tolist() == pytest.approx([1 / 3] * 3)
    assert not use_shares.anomalous.any()


def test_used_and_overlap():
    use_shares = MemoryShares(np.array([0.5, 0.5, 0.0, 0.0]), np.array([0.0, 0.2, 0.79995, 0.00005]))
    assert (use_shares.used(use_shares.normal), use_shares.used(use_shares.anomalous)) == (2, 2)
    assert use_shares.overlap == pytest.approx(0.2)


def test_merged_use_equals_use_of_all_samples():
    recalled, labels = np.random.default_rng(1).random((9, 4)), [0, 1, 0] * 3
    whole, first, second = MemoryUse(), MemoryUse(), MemoryUse()
    whole.update(recalled, labels)
    first.update(recalled[:5], labels[:5])
    second.update(recalled[5:], labels[5:])
    first.merge(second)
    np.testing.assert_allclose(first.compute().normal, whole.compute().normal)
    np.testing.assert_allclose(first.compute().anomalous, whole.compute().anomalous)
