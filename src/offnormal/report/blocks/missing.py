"""What is not known: metrics that could not be computed, warnings of reading, files that were skipped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from offnormal.evaluation.evaluate import Evaluation
from offnormal.metrics.video import METRICS, PER_VIDEO_NORM, SMOOTHED
from offnormal.report.block import Block, Column, Fact, Facts, Table
from offnormal.report.wording import counted, name_of

SHOWN = 25


def links(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What the head of the page says about this, with the name of the block."""
    number = sum(map(len, evaluation.warnings.values()))
    texts = []
    if evaluation.skipped:
        texts.append((f"{counted(len(evaluation.skipped), 'file was', 'files were')} skipped", "skipped"))
    if number:
        texts.append((f"{counted(number, 'warning', 'warnings')} from reading", "warnings"))
    return texts


def missing(evaluation: Evaluation) -> Block | None:
    """Metrics that could not be computed, and error bounds of those that are not exact."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, reason in evaluation.missing.items():
        by_reason[reason].append(name)
    facts = [Fact(", ".join(_without_variants(names)), reason) for reason, names in by_reason.items()]
    if evaluation.calibration is None:
        facts.append(Fact("threshold and verdicts", "the detector is not calibrated: run offnormal calibrate"))
    facts += _pixel_facts(evaluation)
    return Block(name="missing", title="Not known, or not exactly", elements=[Facts(facts)]) if facts else None


def warnings(evaluation: Evaluation) -> Block | None:
    """What was noticed while items were read, such as a truncated file."""
    rows = [[item, text] for item, texts in evaluation.warnings.items() for text in texts]
    if not rows:
        return None
    columns = [Column("item", "path"), Column("warning", "path")]
    table = Table(columns=columns, rows=rows[:SHOWN], more=max(len(rows) - SHOWN, 0))
    return Block(name="warnings", title="Warnings from reading", elements=[table])


def skipped(evaluation: Evaluation) -> Block | None:
    """Files that could not be read, with the reason."""
    files = evaluation.skipped
    if not files:
        return None
    rows = [
        [name_of(bad.path, evaluation.dataset.root), bad.reason.removeprefix(f"{bad.path}: ")] for bad in files[:SHOWN]
    ]
    columns = [Column("file", "path"), Column("reason", "path")]
    table = Table(columns=columns, rows=rows, more=max(len(files) - SHOWN, 0))
    return Block(name="skipped", title=f"{counted(len(files), 'file', 'files')} skipped", elements=[table])


def _pixel_facts(evaluation: Evaluation) -> list[Fact]:
    pixel = evaluation.pixel
    if pixel is None:
        return []
    facts = []
    if pixel.auroc is None and "pixel metrics" not in evaluation.missing:
        facts.append(Fact("pixel metrics", "the masks mark no pixel, or every pixel"))
    if not pixel.exact:
        number = counted(pixel.pixels, "pixel was", "pixels were")
        for name, bound in (
            ("pixel_AUROC", f"within {pixel.auroc_error_bound:.2g} of the exact value"),
            ("pixel_AUPRO", f"within {pixel.aupro_error_bound:.2g} of the exact value"),
            ("pixel_F1", f"at most {pixel.f1_error_bound:.2g} below the exact value"),
        ):
            if name in evaluation.metrics:
                facts.append(Fact(name, f"{number} counted in bins to bound the memory: {bound}"))
    return facts


def _without_variants(names: Sequence[str]) -> list[str]:
    """Names of metrics, without the variants of those that are named themselves."""
    plain = [name for name in names if not _is_variant(name, names)]
    variants = len(names) - len(plain)
    return [*plain, f"and {counted(variants, 'variant', 'variants')}"] if variants else plain


def _is_variant(name: str, names: Sequence[str]) -> bool:
    base = next((metric for metric in METRICS if name.startswith(metric)), name)
    return base != name and base in names and name.endswith((SMOOTHED, PER_VIDEO_NORM))
