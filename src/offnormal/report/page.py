"""Render a page of blocks as a single HTML file without scripts and external requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from offnormal.drawing import wording
from offnormal.drawing.curves import curves
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.units import TRAITS
from offnormal.report import compare_plots
from offnormal.report.block import Block, Plot, Plots
from offnormal.report.blocks import cards, decisions, guarantee, internals, metrics, scores, summary, videos
from offnormal.report.blocks.gallery import ShownUnit, gallery
from offnormal.training.history import History

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of blocks; None is skipped."""

    kind: str  # evaluation, comparison
    heading: str
    blocks: Sequence[Block | None]
    about: str = ""  # next to the kind
    lead: str = ""
    warnings: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()  # text, name of the block
    foot: str = ""


def render_evaluation(
    evaluation: Evaluation, units: Sequence[ShownUnit], card: Mapping[str, object], history: History | None = None
) -> str:
    """The report of one evaluation as HTML.

    units: for the gallery, in order. card: the bundle's card; the model card lists its keys. history: of the training,
    if there was one.
    """
    dataset, noun = evaluation.dataset, TRAITS[evaluation.unit].noun[0]
    category = dataset.category if dataset.category and dataset.category not in dataset.name else None
    return render_page(
        Page(
            kind="evaluation",
            heading=" · ".join(filter(None, (dataset.name, category))),
            about=cards.detector_name(card),
            lead=summary.lead(evaluation),
            warnings=summary.warnings(evaluation),
            links=metrics.links(evaluation),
            blocks=(
                summary.key_figures(evaluation),
                guarantee.guarantee(evaluation),
                videos.timelines(evaluation),
                gallery(evaluation, units),
                scores.distribution(evaluation),
                scores.classes(evaluation),
                decisions.highest_scores(evaluation),
                decisions.decisions(evaluation),
                decisions.thresholds(evaluation),
                videos.videos(evaluation),
                videos.spans(evaluation),
                videos.alarms(evaluation),
                metrics.variants(evaluation),
                metrics.terms(evaluation),
                internals.plane(evaluation),
                scores.class_counts(evaluation),
                metrics.missing(evaluation),
                metrics.warnings(evaluation),
                metrics.skipped(evaluation),
                internals.memory(evaluation),
                training(history),
                cards.data_card(evaluation, card),
                cards.model_card(evaluation, card),
            ),
            foot=f"Higher scores are more anomalous. Every {noun} above the threshold is anomalous. 95 % "
            "intervals of shares are Clopper-Pearson.",
        )
    )


def training(history: History | None) -> Block | None:
    """The losses during training."""
    plots = [
        Plot(
            svg=curve.svg,
            title=curve.title,
            legend=[(name, color, "dashed" if dashed else "") for name, color, dashed in curve.lines],
        )
        for curve in curves(history)
    ]
    return Block(name="training", title="Training", elements=[Plots(plots=plots)]) if plots else None


def render_page(page: Page) -> str:
    """A page as HTML; invalid characters in file names become question marks."""
    html = (
        _environment()
        .get_template("page.html.j2")
        .render(page=page, palette=compare_plots.palette(), written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    )
    return html.encode("utf-8", "replace").decode("utf-8")


@cache
def _environment() -> Environment:
    """The environment of the templates, with autoescape."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("offnormal.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"metric": wording.metric, "count": wording.count}
    return environment
