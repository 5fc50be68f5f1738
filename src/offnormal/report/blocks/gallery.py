"""The gallery of a report: missed units, false alarms, clearest detections, or highest scores, with heat maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from offnormal.drawing.overlay import gradient, scale_for
from offnormal.drawing.panels import Panel, Reconstruction, build_panels, to_data_uri
from offnormal.drawing.wording import clock_text, score
from offnormal.evaluation.evaluate import Evaluation
from offnormal.evaluation.units import TRAITS
from offnormal.report.block import Block, Element, GalleryImage, Heading, Scale, Shot, Shots, Text
from offnormal.types import ANOMALOUS, NORMAL

Role = Literal["miss", "false_alarm", "detected", "peak"]
_ROLES: dict[Role, tuple[int, int]] = {  # maximum number of units, and of characters on the page
    "miss": (12, 700_000),
    "false_alarm": (12, 700_000),
    "detected": (12, 700_000),
    "peak": (16, 900_000),
}
_SMALL = 128  # pixels of the longer side of images that are drawn four in a row
_CLIP_SIDE = 200  # pixels of the longer side of each frame of a clip
# role -> title and note; {0}: anomalous units, {1}: normal units
_DECIDED: dict[Role, tuple[str, str]] = {
    "miss": ("Missed", "{0} below the threshold, lowest score first"),
    "false_alarm": ("False alarms", "{1} above the threshold, highest score first"),
    "detected": ("Clearest detections", "{0} above the threshold"),
}
_CORRECT: dict[Role, tuple[str, str]] = {  # if all verdicts are correct
    "miss": ("{0} closest to the threshold", "none was missed; lowest score first"),
    "false_alarm": ("{1} closest to the threshold", "no false alarm; highest score first"),
}
_UNDECIDED: dict[Role, tuple[str, str]] = {  # without a threshold
    "miss": ("{0} with the lowest scores", "lowest score first"),
    "false_alarm": ("{1} with the highest scores", "highest score first"),
    "detected": ("{0}", "the highest score of each class"),
    "peak": ("Highest scores", "the highest frame of each video, then the second highest, and so on"),
}
_SPANS: dict[Role, tuple[str, str]] = {  # for videos, which have alarms
    "miss": ("Missed", "labeled spans without an alarm, at their highest frame"),
    "false_alarm": ("False alarms", "alarms outside labeled spans, at their highest frame"),
    "peak": _UNDECIDED["peak"],
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShownUnit:
    """One scored unit of the gallery."""

    role: Role
    row: int  # its row in the score table
    frames: tuple[np.ndarray, ...]  # (H, W, 3) uint8 RGB: the image, the frame, or some frames of a clip
    map: np.ndarray | None = None  # (H, W) float32 at the size of the first frame; None: the detector has no map
    mask: np.ndarray | None = None  # (H, W) bool, marked regions
    reconstruction: Reconstruction | None = None


def gallery(evaluation: Evaluation, gallery_units: Sequence[ShownUnit]) -> Block | None:
    """One section per role, in the given order (peaks: the highest of each video first); None without units."""
    maps = [unit.map for unit in gallery_units if unit.map is not None and len(unit.frames) == 1]
    low, high = scale_for(evaluation.calibration, maps)
    threshold = None if evaluation.calibration is None else evaluation.calibration.pixel_threshold
    elements: list[Element] = [_scale(low, high, threshold)] if maps else []
    for role in _ROLES:
        units = [unit for unit in gallery_units if unit.role == role]
        if units:
            elements += _section(
                evaluation, role, _interleave(units, evaluation) if role == "peak" else units, low, high
            )
    several = TRAITS[evaluation.unit].noun[1]
    return Block(name="gallery", title=several.capitalize(), elements=elements) if gallery_units else None


def _section(evaluation: Evaluation, role: Role, units: Sequence[ShownUnit], low: float, high: float) -> list[Element]:
    """A heading, the number of units, and the units."""
    total = None
    titles = _UNDECIDED if evaluation.threshold is None else _DECIDED
    if evaluation.frames is not None and evaluation.alarms is not None:
        titles, total = (
            _SPANS,
            {"miss": evaluation.alarms.missed, "false_alarm": evaluation.alarms.false_alarms}.get(role),
        )
    elif evaluation.confusion is not None:
        confusion = evaluation.confusion
        total = {"miss": confusion.missed, "false_alarm": confusion.false_alarm, "detected": confusion.detected}.get(
            role
        )
        label, above = evaluation.table.label, evaluation.table.score > (evaluation.threshold or 0.0)
        wrong = [unit for unit in units if (label[unit.row] == ANOMALOUS) != above[unit.row]]
        if role in _CORRECT and not wrong:
            titles, total = _CORRECT, None
        elif role in _CORRECT:
            units = wrong
    shots = _shots(evaluation, role, units, low, high)
    is_small = all(len(shot.images) < 3 for shot in shots) and max(units[0].frames[0].shape) <= _SMALL
    if total is None and len(units) > len(shots):
        total = len(units)
    several = TRAITS[evaluation.unit].noun[1]
    title, note = (
        text.format(f"anomalous {several}", f"normal {several}") for text in titles.get(role, _UNDECIDED[role])
    )
    if total is not None:
        note += f"; {len(shots)} of {total:,} shown"
    return [Heading(title[:1].upper() + title[1:]), Text(text=note, tone="quiet"), Shots(shots, is_small)]


def _interleave(units: Sequence[ShownUnit], evaluation: Evaluation) -> list[ShownUnit]:
    """Order units: the highest score of each item, then the second highest of each, and so on."""
    names = evaluation.table.item_column(lambda item: item.name)
    turns: Counter[str] = Counter()
    ordered: list[tuple[int, ShownUnit]] = []
    for unit in sorted(units, key=lambda unit: -evaluation.table.score[unit.row]):
        ordered.append((turns[names[unit.row]], unit))
        turns[names[unit.row]] += 1
    return [unit for _, unit in sorted(ordered, key=lambda pair: pair[0])]


def _shots(evaluation: Evaluation, role: Role, units: Sequence[ShownUnit], low: float, high: float) -> list[Shot]:
    """The first units, up to the limits of the page."""
    max_units, max_chars = _ROLES[role]
    shots: list[Shot] = []
    for unit in units[:max_units]:
        images = [
            GalleryImage(panel.caption, to_data_uri(panel.image), *panel.image.size)
            for panel in _panels(evaluation, unit, low, high)
        ]
        max_chars -= sum(len(picture.uri) for picture in images)
        if max_chars < 0 and shots:
            break
        shots.append(Shot(_name(evaluation, unit.row), _about(evaluation, unit.row), images))
    return shots


def _panels(evaluation: Evaluation, unit: ShownUnit, low: float, high: float) -> list[Panel]:
    if len(unit.frames) > 1:
        return [Panel("", _thumbnail(frame)) for frame in unit.frames]
    return build_panels(
        unit.frames[0],
        TRAITS[evaluation.unit].noun[0],
        map=unit.map,
        mask=unit.mask,
        reconstruction=unit.reconstruction,
        threshold=None if evaluation.calibration is None else evaluation.calibration.pixel_threshold,
        low=low,
        high=high,
    )


def _name(evaluation: Evaluation, row: int) -> str:
    table = evaluation.table
    texts = [next(item.name for item in table.items if item.rows.start <= row < item.rows.stop)]
    if table.frame[row] >= 0:
        texts += [] if np.isnan(table.time_s[row]) else [clock_text(float(table.time_s[row]))]
        texts.append(f"frame {table.frame[row]:,}")
    return " · ".join(texts)


def _about(evaluation: Evaluation, row: int) -> list[str]:
    """Label, score, and p-value of a unit."""
    table, threshold = evaluation.table, evaluation.threshold
    item = next(item for item in table.items if item.rows.start <= row < item.rows.stop)
    label = {float(NORMAL): "normal", float(ANOMALOUS): "anomalous"}.get(float(table.label[row]), "no label")
    kind = item.class_name if item.class_name and label != "normal" else label
    value = float(table.score[row])
    times = (
        f" ({value / threshold:.2f} \N{MULTIPLICATION SIGN} threshold)"
        if threshold is not None and threshold > 0 and value > 0
        else ""
    )
    texts = [kind, f"score {score(value)}{times}"]
    return texts if np.isnan(table.p_value[row]) else [*texts, f"p-value {table.p_value[row]:.2g}"]


def _thumbnail(frame: np.ndarray) -> Image.Image:
    small = Image.fromarray(frame)
    small.thumbnail((_CLIP_SIDE, _CLIP_SIDE), Image.Resampling.LANCZOS)
    return small


def _scale(low: float, high: float, threshold: float | None) -> Scale:
    """The legend of heat maps between two end values."""
    stops = ", ".join(f"rgb({red} {green} {blue} / {cover})" for red, green, blue, cover in gradient())
    line = "" if threshold is None else "; the white line marks the threshold"
    about = f"Colors of the heat map, the same for all images{line}. Turquoise: outline of the marked region."
    name = "" if threshold is None else f"pixel threshold {score(threshold)}"
    return Scale(f"linear-gradient(90deg, {stops})", score(low), score(high), name, about)
