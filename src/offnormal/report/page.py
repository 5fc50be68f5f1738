"""The report of one evaluation: a single HTML file that opens anywhere, with no script and no outside request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from offnormal.drawing import plots
from offnormal.drawing.axis import ScoreAxis, axis_for
from offnormal.drawing.curves import curves
from offnormal.drawing.time_text import clock_text
from offnormal.evaluation import Evaluation
from offnormal.report import cards, gallery, headline, tables, wording
from offnormal.report.item_plot import item_plot
from offnormal.report.picture import Picture
from offnormal.training.history import History
from offnormal.types import ANOMALOUS, NORMAL

if TYPE_CHECKING:
    from jinja2 import Environment

_GROUPS = (("normal", "normal", NORMAL), ("anomalous", "anomalous", ANOMALOUS), ("without a label", "unknown", None))
_WIDE, _NARROW = 1060, 380  # pixels of the histogram on a screen and on a telephone


def render(
    evaluation: Evaluation, pictures: Sequence[Picture], card: Mapping[str, Any], history: History | None = None
) -> str:
    """The report as HTML.

    pictures: those to show, in the order in which each role lists them. card: the bundle's card; its keys `data`,
    `weights`, `versions`, `machine` and `sha256` have places of their own, and any other (such as `detector` and
    `input` of `bundle.describe`) is listed with the model. All of them may be missing. history: of the training, where
    there was one.
    """
    calibration = evaluation.calibration
    axis = axis_for(
        [np.array([row.score for row in evaluation.rows]), np.array(calibration.scores if calibration else ())],
        calibration.threshold if calibration else None,
    )
    labels = {row.sample.label for row in evaluation.rows}
    sections, scale = gallery.gallery(evaluation, pictures)
    skipped, more_skipped = tables.skipped(evaluation)
    page = environment().get_template("report.html.j2")
    return printable(
        page.render(
            evaluation=evaluation,
            counts=evaluation.confusion,
            calibration=calibration,
            lead=headline.lead(evaluation),
            detector=cards.detector(card),
            tiles=headline.tiles(evaluation),
            promise=headline.promise(evaluation),
            plots=_drawn(evaluation, axis),
            shown=[(name, colour) for name, colour, label in _GROUPS if label in labels],
            kinds=tables.kinds(evaluation, axis),
            axis=axis,
            classes=tables.classes(evaluation),
            thresholds=tables.thresholds(evaluation),
            highest=tables.highest(evaluation),
            sections=sections,
            scale=scale,
            training=curves(history),
            items=item_plot(evaluation.items),
            gaps=tables.gaps(evaluation),
            skipped=skipped,
            more_skipped=more_skipped,
            data_card=cards.data_card(evaluation, card),
            model_card=cards.model_card(evaluation, card),
            written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        )
    )


@cache
def environment() -> Environment:
    """The templates, which escape every value, with the wording of numbers as filters."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("offnormal.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for shown in (
        wording.metric,
        wording.share,
        wording.score,
        wording.hundred,
        wording.percent,
        wording.duration,
        wording.interval,
        wording.counted,
        clock_text,
    ):
        made.filters[shown.__name__] = shown
    return made


def printable(html: str) -> str:
    """The same text with what UTF-8 cannot hold (halves of broken file names) as question marks."""
    return html.encode("utf-8", "replace").decode("utf-8")


def _drawn(evaluation: Evaluation, axis: ScoreAxis) -> dict[str, str]:
    """Every plot that the labels allow, as SVG by name."""
    calibration, counts = evaluation.calibration, evaluation.confusion
    threshold = calibration.threshold if calibration is not None else None
    groups = {
        colour: np.array([row.score for row in evaluation.rows if row.sample.label == label])
        for _, colour, label in _GROUPS
    }
    outline = np.array(calibration.scores if calibration is not None else ())
    drawn = {
        name: plots.histogram(groups, outline, threshold=threshold, axis=axis, width=width)
        for name, width in (("wide", _WIDE), ("narrow", _NARROW))
    }
    if not headline.both_classes(evaluation):
        return drawn
    labels, scores = headline.labels_and_scores(evaluation)
    recall = alarms = precision = None
    if counts is not None:
        recall = counts.caught / (counts.caught + counts.escape)
        alarms = counts.false_alarm / (counts.false_alarm + counts.true_normal)
        called = counts.caught + counts.false_alarm
        precision = counts.caught / called if called else None
    return {
        **drawn,
        "roc": plots.roc(labels, scores, at=None if alarms is None or recall is None else (alarms, recall)),
        "precision_recall": plots.precision_recall(
            labels, scores, at=None if precision is None or recall is None else (recall, precision)
        ),
        "trade": plots.trade(labels, scores, threshold=threshold, axis=axis),
    }
