from __future__ import annotations

import numpy as np

from offnormal.report.blocks.plane import plane
from tests.evaluations import clip_evaluation


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
