"""Metrics, the terms of the score, and what is missing: metrics, warnings, skipped files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from offnormal.drawing.wording import display_name, metric
from offnormal.errors import counted
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.units import TRAITS
from offnormal.metrics.video import METRICS, PER_VIDEO_NORM, SMOOTHED
from offnormal.report.block import Block, Column, Element, Fact, Facts, Table, Text, Tile

_PIXEL = {
    "pixel_AUROC": "how often a marked pixel scores above an unmarked one",
    "pixel_AUPRO": "overlap with marked regions, up to 30 % false pixels",
    "pixel_F1": "best F1 over all thresholds on pixels",
}
_SUFFIXES = ("", SMOOTHED, PER_VIDEO_NORM, SMOOTHED + PER_VIDEO_NORM)


def headline(evaluation: Evaluation) -> tuple[str, ...]:
    """Names of the metrics at the top of a report."""
    traits = TRAITS[evaluation.unit]
    return (*traits.metrics, *traits.pixel)


def _is_repeated(name: str, evaluation: Evaluation) -> bool:
    return name in evaluation.metrics and name not in evaluation.distinct_metrics


def tiles(evaluation: Evaluation) -> list[Tile]:
    """The headline metrics, or the reason why one is missing; empty without labels."""
    if not evaluation.labeled and not evaluation.metrics:
        return []
    meanings = TRAITS[evaluation.unit].metrics | _PIXEL
    names = [name for name in headline(evaluation) if not _is_repeated(name, evaluation)]
    tiles = [_tile(name, evaluation.metrics, evaluation.missing, meanings[name]) for name in names]
    if evaluation.frames is None:
        return tiles
    videos = evaluation.frames.videos
    over = f" over {sum(row.auc is not None for row in videos):,} of {counted(len(videos), 'video', 'videos')}"
    return [
        Tile(tile.name, tile.value, tile.note + over)
        if tile.name == "frame_AUC_macro" and tile.value is not None
        else tile
        for tile in tiles
    ]


def variants(evaluation: Evaluation) -> Block | None:
    """Raw, smoothed, and per-video-normalized frame metrics side by side; None if there is only one of them."""
    metrics = evaluation.distinct_metrics
    names = tuple(name for name in TRAITS[evaluation.unit].metrics if not _is_repeated(name, evaluation))
    suffixes = [suffix for suffix in _SUFFIXES if any(name + suffix in metrics for name in names)]
    if evaluation.frames is None or len(suffixes) < 2:
        return None
    papers = sum(suffix.endswith(PER_VIDEO_NORM) for suffix in suffixes)
    groups = [
        ("", 1),
        ("one threshold for all videos", len(suffixes) - papers),
        ("only to compare with papers", papers),
    ]
    elements: list[Element] = [
        Table(
            columns=[Column("metric", "text"), *(Column(suffix or "raw scores") for suffix in suffixes)],
            rows=[[name, *(metric(metrics.get(name + suffix)) for suffix in suffixes)] for name in names],
            groups=[(title, span) for title, span in groups if span],
            style="roomy",
        )
    ]
    if evaluation.frames.smoothing:
        elements.append(Text(label="_smoothed:", text=f"{evaluation.frames.smoothing}.", tone="quiet"))
    if papers:
        elements.append(
            Text(
                label="_per_video_norm:",
                text="the scores of each video are scaled to 0-1 first, as in many papers. This needs the whole video "
                "before the first verdict, and gives every video the same range: not possible for a live camera.",
                tone="quiet",
            )
        )
    return Block(name="variants", title="Metrics of processed scores", elements=elements)


def terms(evaluation: Evaluation) -> Block | None:
    """The metrics of each term as a score, best first by the first metric; None with fewer than two terms."""
    measured = {name: values for name, values in evaluation.terms.items() if values}
    if len(measured) < 2:
        return None
    names = dict.fromkeys(name for values in measured.values() for name in values)
    metrics = [name for name in names if not _is_repeated(name, evaluation)]
    ordered = sorted(measured, key=lambda name: -measured[name].get(metrics[0], 0.0))
    table = Table(
        columns=[Column("term", "text"), *(Column(name) for name in metrics)],
        rows=[[name, *(metric(measured[name].get(column)) for column in metrics)] for name in ordered],
        style="roomy",
    )
    note = Text(
        text="Best first on this test set; choose terms on other data. A term that is lower for anomalies has an AUC "
        "below 0.5.",
        tone="quiet",
    )
    return Block(name="terms", title="Terms of the score", elements=[table, note])


def _tile(name: str, metrics: Mapping[str, float], missing: Mapping[str, str], meaning: str) -> Tile:
    if name in metrics:
        return Tile(name, metrics[name], meaning)
    kind = name.partition("_")[0]
    reason = missing.get(name) or missing.get(f"{kind} metrics")
    return Tile(name, None, reason or ("the detector has no anomaly map" if kind == "pixel" else "not computed"))


ROW_LIMIT = 25


def links(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Links for the page header: text and name of the block."""
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
        facts.append(Fact("threshold and verdicts", "the detector is not calibrated; run offnormal calibrate"))
    facts += _pixel_facts(evaluation)
    return Block(name="missing", title="Missing or approximate metrics", elements=[Facts(facts)]) if facts else None


def warnings(evaluation: Evaluation) -> Block | None:
    """Warnings from reading items, such as a truncated file."""
    rows = [[item, text] for item, texts in evaluation.warnings.items() for text in texts]
    if not rows:
        return None
    columns = [Column("item", "path"), Column("warning", "path")]
    table = Table(columns=columns, rows=rows[:ROW_LIMIT], more=max(len(rows) - ROW_LIMIT, 0))
    return Block(name="warnings", title="Warnings from reading", elements=[table])


def skipped(evaluation: Evaluation) -> Block | None:
    """Files that could not be read, with the reason."""
    files = evaluation.skipped
    if not files:
        return None
    rows = [
        [display_name(bad.path, evaluation.dataset.root), bad.reason.removeprefix(f"{bad.path}: ")]
        for bad in files[:ROW_LIMIT]
    ]
    columns = [Column("file", "path"), Column("reason", "path")]
    table = Table(columns=columns, rows=rows, more=max(len(files) - ROW_LIMIT, 0))
    return Block(name="skipped", title=f"{counted(len(files), 'file', 'files')} skipped", elements=[table])


def _pixel_facts(evaluation: Evaluation) -> list[Fact]:
    pixel = evaluation.pixel
    if pixel is None:
        return []
    facts = []
    if not pixel.exact:
        number = counted(pixel.pixels, "pixel was", "pixels were")
        for name, bound in (
            ("pixel_AUROC", f"within {pixel.auroc_error_bound:.2g} of the exact value"),
            ("pixel_AUPRO", f"within {pixel.aupro_error_bound:.2g} of the exact value"),
            ("pixel_F1", f"at most {pixel.f1_error_bound:.2g} below the exact value"),
        ):
            if name in evaluation.metrics:
                facts.append(Fact(name, f"{number} counted in bins to save memory: {bound}"))
    return facts


def _without_variants(names: Sequence[str]) -> list[str]:
    """Names of metrics; variants of a listed metric are only counted."""
    plain = []
    for name in names:
        base = next((metric for metric in METRICS if name.startswith(metric)), name)
        if base == name or base not in names or not name.endswith((SMOOTHED, PER_VIDEO_NORM)):
            plain.append(name)
    variants = len(names) - len(plain)
    return [*plain, f"and {counted(variants, 'variant', 'variants')}"] if variants else plain
