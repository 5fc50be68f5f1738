"""One page built of blocks: a single HTML file that opens anywhere, with no script and no outside request."""

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
    """A page of blocks; those that are None are left out."""

    kind: str  # evaluation, comparison
    heading: str
    blocks: Sequence[Block | None]
    about: str = ""  # beside the kind
    lead: str = ""
    warnings: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()  # text, name of the block
    foot: str = ""


def render_evaluation(
    evaluation: Evaluation, shown: Sequence[ShownUnit], card: Mapping[str, object], history: History | None = None
) -> str:
    """The report of one evaluation as HTML.

    shown: units for the gallery, in the order in which each role lists them. card: the bundle's card; its keys `data`,
    `weights`, `versions`, `machine` and `sha256` have places of their own, and any other (such as `detector` and
    `input`) is listed with the model. All of them may be metrics. history: of the training, where there was one.
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
                gallery(evaluation, shown),
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
            foot=f"A higher score is more anomalous; any {noun} above the threshold is called anomalous. 95 % "
            "intervals of shares are Clopper-Pearson.",
        )
    )


def training(history: History | None) -> Block | None:
    """How losses went during training."""
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
    """A page as HTML, what UTF-8 cannot hold (halves of broken file names) as question marks."""
    html = (
        _environment()
        .get_template("page.html.j2")
        .render(page=page, palette=compare_plots.palette(), written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    )
    return html.encode("utf-8", "replace").decode("utf-8")


@cache
def _environment() -> Environment:
    """The templates, which escape every value."""
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
