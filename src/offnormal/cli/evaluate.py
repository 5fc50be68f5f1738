"""offnormal evaluate BUNDLE --data DIR."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from offnormal.cli.flags import takes_flags
from offnormal.cli.show import Verbatim, aligned, progress_bar, say, say_json, warn, warn_counts, warn_skipped
from offnormal.config.layers import build, input_files
from offnormal.config.model import set_values
from offnormal.config.score import EvaluateConfig
from offnormal.errors import counted, score_text

if TYPE_CHECKING:
    from offnormal.evaluation.alarms import AlarmReport
    from offnormal.evaluation.evaluate import Evaluation
    from offnormal.metrics.decision import Share

Line = tuple[str, str]


@takes_flags(EvaluateConfig)
def command(
    bundle: Path,
    /,
    *,
    options: BaseModel | None = None,
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Score a labeled test set: metrics, a table of scores, and a report.

    Parameters
    ----------
    bundle
        Bundle or run folder; for several categories, the folder of their runs.
    config
        YAML file with settings, named like the flags; flags win.
    json
        Print one JSON object per dataset.
    """
    from offnormal.evaluation.evaluate import mean_metrics, metrics_json
    from offnormal.evaluation.units import TRAITS
    from offnormal.verbs.evaluate import evaluate_all

    flags = set_values(options)
    resolved = build(EvaluateConfig, flags, file=config)
    with progress_bar() as progress:
        done = evaluate_all(bundle, resolved, progress, input_files(flags, config))
    for evaluation, run in done:
        for note in evaluation.notes:
            warn(note)
        warn_skipped(evaluation.skipped, logged=True)
        warn_counts(len(evaluation.table.items), TRAITS[evaluation.unit].item, evaluation.skipped)
        if json:
            say_json({"run": run.path, **metrics_json(evaluation)})
            continue
        for line in as_text(evaluation, run.path / "report.html"):
            say(line)
    if len(done) > 1:
        means = mean_metrics([evaluation.metrics for evaluation, _ in done])
        if json:
            say_json({"mean": means})
        else:
            say()
            for line in aligned([(f"mean {name}", f"{value:.4f}") for name, value in means.items()]):
                say(line)
    return 0


def as_text(evaluation: Evaluation, report: Path) -> list[str]:
    """The key figures as aligned lines; report: path of the page."""
    return [_title(evaluation), *aligned([*_figures(evaluation), ("report", Verbatim(report))])]


def _title(evaluation: Evaluation) -> str:
    """Name of the dataset and how much of it was scored."""
    from offnormal.evaluation.units import TRAITS

    traits = TRAITS[evaluation.unit]
    number = counted(len(evaluation.table.items), *traits.item)
    frames = f", {counted(len(evaluation.table), *traits.noun)}" if traits.item != traits.noun else ""
    return f"{evaluation.dataset.name}: {number}{frames}"


def _figures(evaluation: Evaluation) -> list[Line]:
    """The key figures as (name, text); metrics normalized per video, for papers, last."""
    from offnormal.evaluation.units import TRAITS

    metrics = evaluation.distinct_metrics
    order = sorted(metrics, key=lambda name: name.endswith("_per_video_norm"))
    lines = [(name, f"{metrics[name]:.4f}") for name in order if not name.startswith(("clip_p", "clip_d"))]
    lines += [
        (name, f"not computed: {why}")
        for name, why in evaluation.missing.items()
        if not name.endswith("_per_video_norm")
    ]
    pixel = evaluation.pixel
    if pixel is not None and not pixel.exact:
        bounds = f"AUROC {pixel.auroc_error_bound:.2g}, AUPRO {pixel.aupro_error_bound:.2g}"
        lines.append(("pixel error", f"at most {bounds} (histogram over {pixel.pixels} pixels)"))
    if evaluation.assumed_fps is not None:
        text = f"{evaluation.assumed_fps:g} per second assumed, the footage has no clock (--fps)"
        lines.append(("frames", text))
    if not_scored := sum(stop - start for start, stop, _ in evaluation.table.reason):
        number = counted(not_scored, *TRAITS[evaluation.unit].noun)
        lines.append(("not scored", f"{number}; scores.csv lists the reasons"))
    if evaluation.calibration is None:
        return [*lines, ("verdicts", "none, the bundle is not calibrated (offnormal calibrate)")]
    lines.append(("threshold", score_text(evaluation.calibration.threshold)))
    lines.append(("guarantee", evaluation.calibration.explanation))
    if evaluation.guarantee is not None:
        answer = f"{evaluation.guarantee.answer.value} on the test set (p-value {evaluation.guarantee.p_value:.2g})"
        lines.append(("guarantee check", answer))
    elif not evaluation.calibration.by_hand and evaluation.alarms is not None and evaluation.alarms.normal_s:
        why = "the calibration has no frame times (offnormal calibrate)"
        lines.append(("guarantee check", f"not possible: {why}"))
    return lines + _decisions(evaluation)


def _decisions(evaluation: Evaluation) -> list[Line]:
    """Decisions at the threshold."""
    from offnormal.drawing.wording import percent

    lines: list[Line] = []
    if evaluation.splits:
        names = {row.split: f"passed, {row.split}" for row in evaluation.splits} | {"anomalous": "detected"}
        lines += [(names[row.split], _share(row.correct)) for row in evaluation.splits if row.correct is not None]
    elif evaluation.confusion is not None:
        alarms, misses = evaluation.confusion.false_alarms_per_100_normal, evaluation.confusion.missed_per_100_anomalous
        lines += [
            (name, _share(share)) for name, share in (("false alarms", alarms), ("missed", misses)) if share.total
        ]
    if evaluation.splits and (oracle := evaluation.oracle) is not None:
        passed, detected = percent(oracle.passed), percent(oracle.detected)
        text = f"{score_text(oracle.threshold)}: {passed} passed (test), {detected} detected"
        lines.append(("oracle threshold", f"{text} (chosen with the test labels)"))
    if evaluation.alarms is not None:
        lines += _alarms(evaluation.alarms)
    return lines


def _share(share: Share) -> str:
    return f"{share.count} of {share.total} ({share.per_100:.1f} per 100, 95 % CI {share.low:.1f}-{share.high:.1f})"


def _alarms(report: AlarmReport) -> list[Line]:
    from offnormal.drawing.wording import duration, percent, rate
    from offnormal.errors import counted
    from offnormal.evaluation.alarms import COVERS_NORMAL_FOOTAGE

    lines: list[Line] = []
    if report.false_alarms_per_hour is not None:
        text = f"{rate(report.false_alarms_per_hour)} per hour ({report.false_alarms} in {duration(report.normal_s)}, "
        text += counted(report.false_incidents, "incident") + ")"
        lines.append(("false alarms", text))
    elif report.alarms_per_hour is not None:
        lines.append(("alarms", f"{rate(report.alarms_per_hour)} per hour ({len(report.alarms)})"))
    if spans := report.detected + report.missed:
        delay = "" if report.median_delay_s is None else f", median delay {report.median_delay_s:.1f} s"
        lines.append(("spans detected", f"{report.detected} of {spans}{delay}"))
    if report.time_in_alarm is not None:
        normal = report.normal_time_in_alarm
        of_normal = "" if normal is None else f", {percent(normal)} of the normal footage"
        lines.append(("time in alarm", f"{percent(report.time_in_alarm)}{of_normal}"))
    if report.covers_normal_footage:
        lines.append(("note", COVERS_NORMAL_FOOTAGE))
    return lines
