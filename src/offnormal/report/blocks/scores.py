"""Views on the score table that several blocks share: labeled scores, groups by label, the axis of all scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offnormal.drawing.axis import ScoreAxis, axis_for
from offnormal.evaluation.evaluate import Evaluation
from offnormal.types import ANOMALOUS, NORMAL

COLORS = {"normal": "normal", "anomalous": "anomalous", "without a label": "unknown"}


@dataclass(frozen=True, slots=True, eq=False)
class LabeledScores:
    """Labels (R,) bool and scores (R,) of the units that metrics rest on."""

    labels: NDArray[np.bool_]
    scores: NDArray[np.float64]

    @property
    def has_both(self) -> bool:
        """Whether there are normal and anomalous ones, so that curves can be drawn."""
        return bool(self.labels.any() and not self.labels.all())


def labeled_scores(evaluation: Evaluation) -> LabeledScores:
    """Those of a test set."""
    table = evaluation.table
    return LabeledScores(table.label[table.labeled] == ANOMALOUS, table.score[table.labeled])


def by_label(evaluation: Evaluation) -> dict[str, NDArray[np.float64]]:
    """Scores of the units tested on, by what is known of them (keys of COLORS)."""
    table = evaluation.table
    rows = table.scored & table.tested
    is_known = {
        "normal": table.label == NORMAL,
        "anomalous": table.label == ANOMALOUS,
        "without a label": np.isnan(table.label),
    }
    return {name: table.score[rows & known] for name, known in is_known.items()}


def calibration_scores(evaluation: Evaluation) -> NDArray[np.float64]:
    """Scores (n,) of the normals of the calibration; none without one."""
    return np.array(() if evaluation.calibration is None else evaluation.calibration.scores, np.float64)


def score_axis(evaluation: Evaluation) -> ScoreAxis:
    """One axis for every plot of a report."""
    return axis_for([evaluation.table.score, calibration_scores(evaluation)], evaluation.threshold)


def axis_text(axis: ScoreAxis) -> str:
    """What is unusual about an axis; "" for a straight one."""
    return "" if axis.kind == "linear" else f"{'logarithmic' if axis.kind == 'log' else 'asinh'} axis"
