"""offnormal evaluate BUNDLE --data DIR."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from offnormal.config import EvaluateConfig, build, given_flags

if TYPE_CHECKING:
    from offnormal.evaluation import Evaluation


def command(
    bundle: Path,
    /,
    *,
    options: Annotated[EvaluateConfig | None, Parameter(name="*")] = None,
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Score labelled images: metrics, scores table, report.

    Parameters
    ----------
    bundle
        Bundle, or run folder with one (or with one per category).
    config
        YAML file with the same keys; flags win.
    json
        Print one JSON object per data set.
    """
    from offnormal.cli.show import progress_bar, say, say_json, warn_skipped
    from offnormal.evaluation import mean_row, metrics_json
    from offnormal.verbs.evaluate import evaluate_all

    resolved = build(EvaluateConfig, given_flags(options), file=config)
    with progress_bar() as progress:
        done = evaluate_all(bundle, resolved, progress)
    for evaluation, run in done:
        warn_skipped(evaluation.skipped, logged=True)
        if json:
            say_json({"run": run.path, **metrics_json(evaluation)})
            continue
        for line in as_text(evaluation):
            say(line)
        say(f"report          {run.path / 'report.html'}")
    if len(done) > 1:
        means = mean_row([evaluation for evaluation, _ in done])
        if json:
            say_json({"mean": means})
        else:
            say("mean            " + "  ".join(f"{name} {value:.4f}" for name, value in means.items()))
    return 0


def as_text(evaluation: Evaluation) -> list[str]:
    """The headline figures, line by line."""
    lines = [f"{evaluation.dataset.name}: {len(evaluation.rows)} images"]
    lines += [f"{name:<15} {value:.4f}" for name, value in evaluation.metrics.items()]
    lines += [f"{name:<15} not computed: {why}" for name, why in evaluation.missing.items()]
    pixel = evaluation.pixel
    if pixel is not None and not pixel.exact:
        bounds = f"AUROC {pixel.auroc_error_bound:.2g}, AUPRO {pixel.aupro_error_bound:.2g}"
        lines.append(f"pixel errors    at most {bounds}: a histogram over {pixel.pixels} pixels")
    if evaluation.calibration is None:
        lines.append("verdicts        none: the bundle is not calibrated (offnormal calibrate)")
    else:
        lines.append(f"promise         {evaluation.calibration.explanation}")
    if evaluation.confusion is not None:
        alarms, escapes = (
            evaluation.confusion.false_alarms_per_100_good,
            evaluation.confusion.escapes_per_100_bad,
        )
        for name, share, kind in (("false alarms", alarms, "good"), ("escapes", escapes, "bad")):
            if share is not None and share.of:
                lines.append(
                    f"{name:<15} {share.count} of {share.of} ({share.per_100:.1f} per 100 {kind}, "
                    f"95 % interval {share.low:.1f}-{share.high:.1f})"
                )
    return lines
