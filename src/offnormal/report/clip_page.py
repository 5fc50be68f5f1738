"""The report of an evaluation on clips: a single HTML file that opens anywhere, with no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from offnormal.clip_evaluation import ClipEvaluation
from offnormal.drawing import plots
from offnormal.drawing.axis import ScoreAxis, axis_for
from offnormal.drawing.curves import curves
from offnormal.drawing.plots import kept_and_caught
from offnormal.drawing.scatter import ClassKey, class_keys, project, scatter, some
from offnormal.report import cards, clip_headline, clip_tables, tables
from offnormal.report.clip_gallery import ClipPicture, clip_gallery
from offnormal.report.compare_plots import palette
from offnormal.report.item_plot import item_plot
from offnormal.report.page import environment, printable
from offnormal.report.term_table import term_table
from offnormal.training.history import History
from offnormal.types import ANOMALOUS

_KINDS = ("normal clips", "anomalous clips")


@dataclass(frozen=True, slots=True)
class Planes:
    """Embeddings and latents on planes of their own, with one key."""

    drawn: list[tuple[str, str]]  # title, <svg>
    keys: list[ClassKey]
    others: bool  # whether clips that were not tested on are drawn, faintly


def render_clips(
    evaluation: ClipEvaluation,
    pictures: Sequence[ClipPicture],
    about: Mapping[str, Any],
    history: History | None = None,
) -> str:
    """The report as HTML.

    pictures: clips to show, in the order in which each role lists them. about: the bundle's card, as for
    `page.render`. history: of the training, where there was one.
    """
    calibration = evaluation.calibration
    axis = axis_for([np.array([row.score for row in evaluation.clips])], evaluation.threshold)
    skipped, more_skipped = tables.skipped(evaluation)
    page = environment().get_template("clips.html.j2")
    return printable(
        page.render(
            evaluation=evaluation,
            calibration=calibration,
            lead=clip_headline.lead(evaluation),
            detector=cards.detector(about),
            figures=clip_headline.figures(evaluation),
            tiles=clip_headline.tiles(evaluation) if evaluation.labelled else [],
            warnings=clip_headline.warnings(evaluation),
            promise=clip_headline.promise(evaluation),
            hindsight=clip_headline.hindsight(evaluation),
            axis=axis,
            parts=clip_tables.by_part(evaluation, axis),
            classes=clip_tables.by_class(evaluation, axis),
            more_classes=max(len(evaluation.classes) - clip_tables.SHOWN, 0),
            counts=clip_tables.counts(evaluation),
            plots=_drawn(evaluation, axis),
            alone=term_table(evaluation.terms),
            planes=_planes(evaluation),
            palette=palette(),
            sections=clip_gallery(evaluation, pictures),
            training=curves(history),
            items=item_plot(evaluation.items),
            gaps=clip_tables.gaps(evaluation),
            skipped=skipped,
            more_skipped=more_skipped,
            data_card=cards.clip_data_card(evaluation, about),
            model_card=cards.model_card(evaluation, about),
            written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        )
    )


def _drawn(evaluation: ClipEvaluation, axis: ScoreAxis) -> dict[str, str]:
    """The curves over all thresholds, as SVG by name; none unless there are clips of both kinds."""
    if evaluation.trade is None or evaluation.hindsight is None:
        return {}
    known = evaluation.labelled
    labels = np.array([row.label == ANOMALOUS for row in known])
    scores = np.array([row.score for row in known])
    at = precise = None
    if evaluation.threshold is not None:
        false, true = (int((scores[own] > evaluation.threshold).sum()) for own in (~labels, labels))
        recall = true / int(labels.sum())
        at = false / int((~labels).sum()), recall
        precise = (recall, true / (true + false)) if true + false else None
    return {
        **{
            name: kept_and_caught(
                evaluation.trade, evaluation.hindsight, threshold=evaluation.threshold, axis=axis, width=width
            )
            for name, width in (("wide", 1060), ("narrow", 380))
        },
        "roc": plots.roc(labels, scores, at=at, kinds=_KINDS),
        "precision_recall": plots.precision_recall(labels, scores, at=precise, kinds=_KINDS),
    }


def _planes(evaluation: ClipEvaluation) -> Planes | None:
    """None where the detector gives no vectors, or there are too few clips."""
    shown = some(len(evaluation.clips))
    clips = [evaluation.clips[number] for number in shown]
    actions = [row.video.class_name or ("anomalous" if row.label == ANOMALOUS else "normal") for row in clips]
    anomalous = [action for action, row in zip(actions, clips, strict=True) if row.label == ANOMALOUS]
    tested = np.array([row.tested for row in clips])
    keys = class_keys(actions, anomalous)
    drawn = []
    for title, vectors in (("Embeddings", evaluation.embeddings), ("Latents", evaluation.latents)):
        places = None if vectors is None else project(vectors[shown])
        if places is not None:
            drawn.append((title, scatter(places, actions, tested, keys, f"t-SNE of the {title.lower()}")))
    return Planes(drawn, keys, others=not bool(tested.all())) if drawn else None
