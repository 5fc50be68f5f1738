import numpy as np

from offnormal.metrics.item_use import ItemShares
from offnormal.report.item_plot import item_plot


def test_items_of_both_kinds_are_drawn_and_told():
    found = item_plot(ItemShares(np.array([0.0, 0.75, 0.25]), np.array([0.5, 0.5, 0.0])))
    assert found.said == ("Normal samples recall 2 of 3 items, anomalous ones 2; 50% of what both recall is the same")
    assert found.shown == [("normal", "normal"), ("anomalous", "anomalous")]
    assert "var(--anomalous" in found.svg


def test_one_kind_alone_and_none():
    found = item_plot(ItemShares(np.zeros(3), np.array([0.5, 0.5, 0.0])))
    assert found.said.startswith("Anomalous samples recall 2 of 3 items")
    assert [name for name, _ in found.shown] == ["anomalous"]
    assert item_plot(None) is None
