"""offnormal demo: generate a small inspection dataset, then fit, evaluate, and report on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from offnormal.config.layers import build
from offnormal.config.score import EvaluateConfig
from offnormal.demo import generate
from offnormal.evaluation.evaluate import Evaluation
from offnormal.run import Run
from offnormal.verbs.evaluate import evaluate_run
from offnormal.verbs.fit import fit_config, fit_run
from offnormal.verbs.loading import Progress, open_configured


@dataclass(frozen=True, slots=True)
class Demonstration:
    """Results of the demo."""

    data: Path
    run: Run
    evaluation: Evaluation


def demonstrate(
    out: Path,
    *,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Demonstration:
    """Generate the dataset in `out`/demo-data, fit and calibrate on its normal images, evaluate, and write the report.

    Raises DataError if its folder contains something else.
    """

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress("draw images", done, total)

    data = out / "demo-data"
    generate(data, seed=seed, progress=report)
    flags = {"data": data, "out": out, "device": device, "detector": {"seed": seed}}
    run = fit_run("padim", build(fit_config("padim"), flags, environment={}), progress)[0]
    config = build(EvaluateConfig, {"data": data, "device": device}, environment={})
    evaluation, _ = evaluate_run(run.bundle, open_configured(config)[0], config, progress)
    return Demonstration(data, run, evaluation)
