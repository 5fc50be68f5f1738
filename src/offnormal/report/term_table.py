"""The table that holds the terms of a score against each other, each as if it were the score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TermTable:
    """Metrics of each term, best first by the first metric."""

    metrics: list[str]
    rows: list[tuple[str, list[float | None]]]  # term, its metrics


def term_table(terms: Mapping[str, Mapping[str, float]]) -> TermTable | None:
    """Term -> metric -> value as a table; None with fewer than two terms that have any.

    >>> term_table({"knn": {"frame_AUC_micro": 0.8}, "ae": {"frame_AUC_micro": 0.9}}).rows
    [('ae', [0.9]), ('knn', [0.8])]
    """
    measured = {name: values for name, values in terms.items() if values}
    if len(measured) < 2:
        return None
    metrics = list(dict.fromkeys(metric for values in measured.values() for metric in values))
    ordered = sorted(measured, key=lambda name: -measured[name].get(metrics[0], 0.0))
    return TermTable(metrics, [(name, [measured[name].get(metric) for metric in metrics]) for name in ordered])
