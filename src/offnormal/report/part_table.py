"""The table that holds the parts of a score against each other, each as if it were the score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PartTable:
    """Metrics of each part, best first by the first metric."""

    metrics: list[str]
    rows: list[tuple[str, list[float | None]]]  # part, its metrics


def part_table(parts: Mapping[str, Mapping[str, float]]) -> PartTable | None:
    """Part -> metric -> value as a table; None with fewer than two parts that have any.

    >>> part_table({"knn": {"frame_AUC_micro": 0.8}, "ae": {"frame_AUC_micro": 0.9}}).rows
    [('ae', [0.9]), ('knn', [0.8])]
    """
    measured = {name: values for name, values in parts.items() if values}
    if len(measured) < 2:
        return None
    metrics = list(dict.fromkeys(metric for values in measured.values() for metric in values))
    ordered = sorted(measured, key=lambda name: -measured[name].get(metrics[0], 0.0))
    return PartTable(metrics, [(name, [measured[name].get(metric) for metric in metrics]) for name in ordered])
