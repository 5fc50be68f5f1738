from __future__ import annotations

from dataclasses import replace

import numpy as np

from offnormal.metrics.memory_use import MemoryShares
from offnormal.report.blocks.memory import memory
from tests.evaluations import image_evaluation


def block(normal, anomalous):
    return memory(replace(image_evaluation(), memory=MemoryShares(np.array(normal), np.array(anomalous))))


def test_items_of_both_labels_are_drawn_and_counted():
    text, legend, plot = block([0.0, 0.75, 0.25], [0.5, 0.5, 0.0]).elements
    assert text.text == "Normal samples recall 2 of 3 items, anomalous ones 2; 50% of what both recall is the same."
    assert [name for name, _, _ in legend.rows] == ["normal", "anomalous"]
    assert "var(--anomalous" in plot.svg


def test_one_label_alone_and_none():
    text, legend, _ = block([0.0, 0.0, 0.0], [0.5, 0.5, 0.0]).elements
    assert text.text.startswith("Anomalous samples recall 2 of 3 items")
    assert [name for name, _, _ in legend.rows] == ["anomalous"]
    assert block([0.0], [0.0]) is None and memory(image_evaluation()) is None
