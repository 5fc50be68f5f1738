from __future__ import annotations

from dataclasses import replace

import numpy as np

from offnormal.metrics.memory_use import MemoryShares
from offnormal.report.blocks.internals import memory, plane
from tests.evaluations import clip_evaluation, image_evaluation


def block(normal, anomalous):
    return memory(replace(image_evaluation(), memory=MemoryShares(np.array(normal), np.array(anomalous))))


def test_items_of_both_labels_are_drawn_and_counted():
    text, legend, plot = block([0.0, 0.75, 0.25], [0.5, 0.5, 0.0]).elements
    assert text.text == "Normal samples use 2 of 3 memory items, anomalous ones 2; their use overlaps by 50 %."
    assert [name for name, _, _ in legend.rows] == ["normal", "anomalous"]
    assert "var(--anomalous" in plot.svg


def test_one_label_alone_and_none():
    text, legend, _ = block([0.0, 0.0, 0.0], [0.5, 0.5, 0.0]).elements
    assert text.text.startswith("Anomalous samples use 2 of 3 memory items")
    assert [name for name, _, _ in legend.rows] == ["anomalous"]
    assert block([0.0], [0.0]) is None and memory(image_evaluation()) is None


def test_embeddings_and_latents_have_one_key():
    latents = [np.random.default_rng(1).normal(size=(9, 3))]
    legend, plots, note = plane(clip_evaluation(vectors=True, latents=latents)).elements
    assert legend.rows == [("run <1>", "run-1", "circle"), ("lift", "run-2", "cross")]
    assert [plot.title for plot in plots.plots] == ["Embeddings", "Latents"]
    assert note.text.endswith("Faint: clips of training and calibration.")


def test_without_classes_or_splits_labels_name_the_points():
    legend, _, note = plane(clip_evaluation(vectors=True, classes=False, split=False)).elements
    assert [name for name, _, _ in legend.rows] == ["normal", "anomalous"] and "Faint" not in note.text


def test_no_vectors_or_too_few_have_no_plane():
    assert plane(clip_evaluation()) is None
    assert plane(clip_evaluation(embeddings=[np.zeros((9, 4))])) is None, "all are the same"
