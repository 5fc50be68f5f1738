"""The report of an evaluation on videos: a single HTML file that opens anywhere, with no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from offnormal.drawing import plots
from offnormal.drawing.axis import ScoreAxis, axis_for
from offnormal.drawing.curves import curves
from offnormal.report import cards, tables, video_headline, video_tables
from offnormal.report.item_plot import item_plot
from offnormal.report.page import environment, printable
from offnormal.report.term_table import term_table
from offnormal.report.video_gallery import video_gallery
from offnormal.report.video_picture import VideoPicture
from offnormal.report.video_timelines import timelines
from offnormal.training.history import History
from offnormal.video_evaluation import VideoEvaluation

_WIDE, _NARROW = 1060, 380  # pixels of the histogram on a screen and on a telephone
_KINDS = ("normal frames", "anomalous frames")


def render_videos(
    evaluation: VideoEvaluation,
    pictures: Sequence[VideoPicture],
    about: Mapping[str, Any],
    history: History | None = None,
) -> str:
    """The report as HTML, some megabytes at most however many videos there are.

    pictures: those to show, in the order in which each role lists them. about: the bundle's card, as for
    `page.render`; what it lacks is left out. history: of the training, where there was one.
    """
    calibration = evaluation.calibration
    series = [video.scores.scores for video in evaluation.videos]
    axis = axis_for(
        [*series, np.array(calibration.scores if calibration is not None else ())],
        calibration.threshold if calibration is not None else None,
    )
    lines = video_tables.videos(evaluation)
    groups = _groups(evaluation)
    sections, scale = video_gallery(evaluation, pictures)
    skipped, more_skipped = tables.skipped(evaluation)
    remarks, more_remarks = video_tables.remarks(evaluation)
    spans, more_spans = video_tables.spans(evaluation)
    alarms, more_alarms = video_tables.alarms(evaluation)
    page = environment().get_template("videos.html.j2")
    return printable(
        page.render(
            evaluation=evaluation,
            calibration=calibration,
            operation=evaluation.operation,
            labelled=bool(evaluation.labelled),
            lead=video_headline.lead(evaluation),
            detector=cards.detector(about),
            figures=video_headline.figures(evaluation),
            warnings=video_headline.warnings(evaluation),
            tiles=video_headline.tiles(evaluation),
            variants=video_headline.variants(evaluation),
            promise=video_headline.promise(evaluation),
            charts=timelines(evaluation, lines, axis),
            axis=axis,
            plots=_drawn(evaluation, groups, axis),
            shown=[(name, colour) for name, colour in _NAMES.items() if groups[colour].size],
            lines=lines[: video_tables.VIDEOS_SHOWN],
            notes=any(line.notes for line in lines),
            more_lines=max(len(lines) - video_tables.VIDEOS_SHOWN, 0),
            sections=sections,
            scale=scale,
            spans=spans,
            more_spans=more_spans,
            alarms=alarms,
            more_alarms=more_alarms,
            training=curves(history),
            items=item_plot(evaluation.items),
            terms=term_table(evaluation.terms),
            gaps=video_tables.gaps(evaluation),
            remarks=remarks,
            more_remarks=more_remarks,
            skipped=skipped,
            more_skipped=more_skipped,
            data_card=cards.video_data_card(evaluation, about),
            model_card=cards.model_card(evaluation, about),
            written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        )
    )


_NAMES = {"normal": "normal", "anomalous": "anomalous", "without a label": "unknown"}


def _groups(evaluation: VideoEvaluation) -> dict[str, np.ndarray]:
    """Scores of the scored frames by what is known of them, under the colour's name."""
    found: dict[str, list[np.ndarray]] = {colour: [np.zeros(0)] for colour in _NAMES.values()}
    for video in evaluation.videos:
        scored, labels = video.scores.scored, video.scores.labels
        if labels is None:
            found["unknown"].append(video.scores.scores[scored])
        else:
            found["normal"].append(video.scores.scores[scored & ~labels])
            found["anomalous"].append(video.scores.scores[scored & labels])
    return {colour: np.concatenate(parts) for colour, parts in found.items()}


def _drawn(evaluation: VideoEvaluation, groups: Mapping[str, np.ndarray], axis: ScoreAxis) -> dict[str, str]:
    """Histogram and, where both kinds of frames are there, the curves, as SVG by name."""
    calibration = evaluation.calibration
    threshold = calibration.threshold if calibration is not None else None
    outline = np.array(calibration.scores if calibration is not None else ())
    drawn = {
        name: plots.histogram(groups, outline, threshold=threshold, axis=axis, width=width)
        for name, width in (("wide", _WIDE), ("narrow", _NARROW))
    }
    normal, anomalous = groups["normal"], groups["anomalous"]
    if not normal.size or not anomalous.size:
        return drawn
    labels = np.concatenate([np.zeros(normal.size, np.bool_), np.ones(anomalous.size, np.bool_)])
    scores = np.concatenate([normal, anomalous])
    alarms = recall = precision = None
    if threshold is not None:
        false, true = int((normal > threshold).sum()), int((anomalous > threshold).sum())
        alarms, recall = false / normal.size, true / anomalous.size
        precision = true / (true + false) if true + false else None
    at = None if alarms is None or recall is None else (alarms, recall)
    precise = None if precision is None or recall is None else (recall, precision)
    return {
        **drawn,
        "roc": plots.roc(labels, scores, at=at, kinds=_KINDS),
        "precision_recall": plots.precision_recall(labels, scores, at=precise, kinds=_KINDS),
        "trade": plots.trade(labels, scores, threshold=threshold, axis=axis),
    }
