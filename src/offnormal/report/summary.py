"""The summary of several categories: one row per category with a link to its report, and the mean."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from offnormal.calibration.check import Answer
from offnormal.drawing.wording import NONE, hundred, metric, rate
from offnormal.errors import counted
from offnormal.evaluation.evaluate import Evaluation, mean_metrics
from offnormal.evaluation.units import TRAITS
from offnormal.report.block import Block, Cell, Column, Table
from offnormal.report.blocks.metrics import headline
from offnormal.report.page import Page, render_page


def render_summary(evaluations: Sequence[tuple[str, Evaluation, str]]) -> str:
    """The table of categories as HTML, from (name, evaluation, path of its report relative to this page).

    Means are over the categories that have the metric; if some do not, the number is printed.
    """
    measured = [evaluation for _, evaluation, _ in evaluations]
    names = [
        name for name in headline(measured[0]) if any(name in evaluation.distinct_metrics for evaluation in measured)
    ]
    means = mean_metrics([evaluation.metrics for evaluation in measured])
    table = Table(
        columns=[
            Column("category", "path"),
            Column(TRAITS[measured[0].unit].item[1]),
            *map(Column, names),
            Column("missed"),
            Column("false alarms"),
        ],
        rows=[
            [
                Cell(text=name, href=quote(href, safe="/"), below=_note(evaluation)),
                f"{len(evaluation.table.items):,}",
                *(_metric(evaluation.metrics.get(column)) for column in names),
                *_decisions(evaluation),
            ]
            for name, evaluation, href in evaluations
        ],
        foot=[
            "mean",
            "",
            *(Cell(text=metric(means[name]), below=_over(name, measured)) for name in names),
            "",
            "",
        ],
    )
    heading = counted(len(evaluations), "category", "categories")
    foot = "Missed and false alarms are at the calibrated threshold of each category."
    block = Block(name="categories", title="Categories", elements=[table])
    return render_page(Page(kind="evaluation", heading=heading, blocks=[block], foot=foot))


def _note(evaluation: Evaluation) -> str:
    """A note about its calibration."""
    if evaluation.calibration is None:
        return "not calibrated"
    is_broken = evaluation.guarantee is not None and evaluation.guarantee.answer is Answer.BROKEN
    return "more false alarms than expected" if is_broken else ""


def _metric(value: float | None) -> str | Cell:
    return NONE if value is None else Cell(text=metric(value), bar=value)


def _over(name: str, evaluations: Sequence[Evaluation]) -> str:
    number = sum(name in evaluation.metrics for evaluation in evaluations)
    return f"over {number}" if number < len(evaluations) else ""


def _decisions(evaluation: Evaluation) -> list[str | Cell]:
    """Missed units or spans, and false alarms."""
    if (alarms := evaluation.alarms) is not None:
        scored = alarms.detected + alarms.missed
        return [
            f"{alarms.missed:,} of {scored:,}" if scored else NONE,
            Cell(text=f"{alarms.false_alarms:,}", below=f"{rate(alarms.false_alarms_per_hour)} per hour"),
        ]
    if evaluation.confusion is None:
        return [NONE, NONE]
    shares = evaluation.confusion.missed_per_100_anomalous, evaluation.confusion.false_alarms_per_100_normal
    return [
        Cell(text=f"{share.count:,} of {share.total:,}", below=f"{hundred(share.per_100)} per 100")
        if share.total
        else NONE
        for share in shares
    ]
