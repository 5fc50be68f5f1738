"""offnormal: learns normality from normal images alone and says whether, where and how surely something is off.

import offnormal as on
run = on.fit("padim", data="bottle/")
scores = on.score(run.bundle, "new/*.png")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offnormal.api import calibrate, compare, evaluate, fit, load, predict, score, watch
    from offnormal.bundle import Bundle
    from offnormal.calibration.calibration import Calibration
    from offnormal.detectors.base import Detector
    from offnormal.errors import OffnormalError
    from offnormal.evaluation.evaluate import Evaluation
    from offnormal.run import Run
    from offnormal.types import Event, InputSpec, Output, Rate, Sample, Scores, Verdict

__all__ = [
    "Bundle",
    "Calibration",
    "Detector",
    "Evaluation",
    "Event",
    "InputSpec",
    "OffnormalError",
    "Output",
    "Rate",
    "Run",
    "Sample",
    "Scores",
    "Verdict",
    "calibrate",
    "compare",
    "evaluate",
    "fit",
    "load",
    "predict",
    "score",
    "watch",
]

_HOMES = {
    **dict.fromkeys(("calibrate", "compare", "evaluate", "fit", "predict", "score", "watch"), "offnormal.api"),
    **dict.fromkeys(("Event", "InputSpec", "Output", "Rate", "Sample", "Scores", "Verdict"), "offnormal.types"),
    "Bundle": "offnormal.bundle",
    "Calibration": "offnormal.calibration.calibration",
    "Detector": "offnormal.detectors.base",
    "Evaluation": "offnormal.evaluation.evaluate",
    "OffnormalError": "offnormal.errors",
    "Run": "offnormal.run",
    "load": "offnormal.bundle",
}


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that `import offnormal` stays fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("offnormal")
    if name not in _HOMES:
        raise AttributeError(f"module 'offnormal' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
