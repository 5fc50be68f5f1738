"""offnormal evaluate BUNDLE --data DIR."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from offnormal.cli.flags import takes_flags
from offnormal.config.layers import build
from offnormal.config.model import set_values
from offnormal.config.score import EvaluateConfig

if TYPE_CHECKING:
    from offnormal.clip_evaluation import ClipEvaluation
    from offnormal.evaluation import Evaluation
    from offnormal.metrics.operational import Operation
    from offnormal.video_evaluation import VideoEvaluation


@takes_flags(EvaluateConfig)
def command(
    bundle: Path,
    /,
    *,
    options: BaseModel | None = None,
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Score labelled images or videos: metrics, scores table, report.

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
    from offnormal.clip_evaluation import ClipEvaluation, clip_metrics_json
    from offnormal.evaluation import mean_row, metrics_json
    from offnormal.verbs.evaluate import evaluate_all
    from offnormal.video_evaluation import VideoEvaluation, video_metrics_json

    resolved = build(EvaluateConfig, set_values(options), file=config)
    with progress_bar() as progress:
        done = evaluate_all(bundle, resolved, progress)
    for evaluation, run in done:
        warn_skipped(evaluation.skipped, logged=True)
        if isinstance(evaluation, ClipEvaluation):
            values, lines = clip_metrics_json(evaluation), as_text_of_clips(evaluation)
        elif isinstance(evaluation, VideoEvaluation):
            values, lines = video_metrics_json(evaluation), as_text_of_videos(evaluation)
        else:
            values, lines = metrics_json(evaluation), as_text(evaluation)
        if json:
            say_json({"run": run.path, **values})
            continue
        for line in lines:
            say(line)
        say(f"report          {run.path / 'report.html'}")
    if len(done) > 1:
        means = mean_row([evaluation.metrics for evaluation, _ in done])
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


def as_text_of_videos(evaluation: VideoEvaluation) -> list[str]:
    """The headline figures of videos, line by line; the per-video-norm ones, for papers, last."""
    from offnormal.report.wording import counted

    frames = sum(len(video.scores.scores) for video in evaluation.videos)
    lines = [f"{evaluation.dataset.name}: {counted(len(evaluation.videos), 'video', 'videos')}, {frames} frames"]
    order = sorted(evaluation.metrics, key=lambda name: name.endswith("_per_video_norm"))
    width = max((len(name) for name in order), default=15)
    lines += [f"{name:<{width}} {evaluation.metrics[name]:.4f}" for name in order]
    reasons = {name: why for name, why in evaluation.missing.items() if not name.endswith("_per_video_norm")}
    lines += [f"{name:<{width}} not computed: {why}" for name, why in reasons.items()]
    not_scored = sum(span.stop - span.start for video in evaluation.videos for span in video.not_scored)
    if not_scored:
        lines.append(f"{'not scored':<{width}} {not_scored} frames, listed with the reason in scores.csv")
    if evaluation.calibration is None:
        lines.append(f"{'verdicts':<{width}} none: the bundle is not calibrated (offnormal calibrate)")
    else:
        lines.append(f"{'promise':<{width}} {evaluation.calibration.explanation}")
    if evaluation.operation is not None:
        lines += [f"{name:<{width}} {text}" for name, text in _operation(evaluation.operation)]
    return lines


def as_text_of_clips(evaluation: ClipEvaluation) -> list[str]:
    """The headline figures of clips, line by line, the accuracy table at the threshold among them."""
    from offnormal.metrics.clips import METRICS
    from offnormal.report.wording import counted

    lines = [f"{evaluation.dataset.name}: {counted(len(evaluation.clips), 'clip', 'clips')}"]
    lines += [f"{name:<15} {evaluation.metrics[name]:.4f}" for name in METRICS if name in evaluation.metrics]
    lines += [f"{name:<15} not computed: {why}" for name, why in evaluation.missing.items()]
    if evaluation.calibration is None:
        return [*lines, "verdicts        none: the bundle is not calibrated (offnormal calibrate)"]
    lines.append(f"threshold       {evaluation.calibration.threshold:.6g}")
    lines.append(f"promise         {evaluation.calibration.explanation}")
    words = {"train": "kept, train", "validation": "kept, held out", "test": "kept, test", "anomalous": "caught"}
    for row in evaluation.accuracy:
        if row.right is not None:
            lines.append(
                f"{words[row.part]:<15} {row.right.count} of {row.right.of} ({row.right.per_100:.1f} per 100, "
                f"95 % interval {row.right.low:.1f}-{row.right.high:.1f})"
            )
    for one in evaluation.classes:
        if one.anomalous and one.right is not None:
            lines.append(f"{'':<15} {one.action}: {one.right.count} of {one.right.of}")
    if (best := evaluation.hindsight) is not None:
        lines.append(
            f"by hindsight    {best.threshold:.6g} would keep {best.kept:.1%} (test) and catch {best.caught:.1%}; "
            "chosen with the labels in hand"
        )
    return lines


def _operation(operation: Operation) -> list[tuple[str, str]]:
    found = []
    if operation.false_alarms_per_hour is not None:
        normal = operation.normal_s / 3600
        found.append(
            (
                "false alarms",
                f"{operation.false_alarms_per_hour:.3g} per hour ({operation.false_alarms} in {normal:.2f} h)",
            )
        )
    elif operation.alarms_per_hour is not None:
        found.append(("alarms", f"{operation.alarms_per_hour:.3g} per hour ({len(operation.alarms)})"))
    if operation.caught + operation.missed:
        delay = "" if operation.median_delay_s is None else f", median delay {operation.median_delay_s:.1f} s"
        found.append(("spans caught", f"{operation.caught} of {operation.caught + operation.missed}{delay}"))
    if operation.time_in_alarm is not None:
        found.append(("time in alarm", f"{operation.time_in_alarm:.1%}"))
    return found
