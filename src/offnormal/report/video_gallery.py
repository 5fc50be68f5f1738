"""The pictures of a report of videos: false alarms, misses and the highest frames, each with its map and its mask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offnormal.drawing.overlay import scale_for
from offnormal.drawing.panels import frame_panels
from offnormal.drawing.time_text import clock_text
from offnormal.report.gallery import Scale, Section, Shot, against, frames, known, scale
from offnormal.report.video_picture import FrameRole, VideoPicture
from offnormal.video_evaluation import VideoEvaluation


@dataclass(frozen=True, slots=True)
class _Kind:
    """How pictures of one role are introduced, with a threshold and without, and how much of the page they may fill."""

    title: str
    about: str
    undecided: str
    undecided_about: str
    most: int  # pictures
    characters: int  # of the page


_KINDS: dict[FrameRole, _Kind] = {
    "false_alarm": _Kind(
        "Worst false alarms",
        "alarms that touch no labelled span, each at its highest frame",
        "Highest normal frames",
        "the highest score first",
        12,
        700_000,
    ),
    "miss": _Kind(
        "Missed",
        "labelled spans without an alarm, each at its highest frame",
        "Lowest labelled spans",
        "each at its highest frame",
        12,
        700_000,
    ),
    "peak": _Kind(
        "Highest frames",
        "the highest frame of every video, then the next ones",
        "Highest frames",
        "the highest frame of every video, then the next ones",
        16,
        900_000,
    ),
}


def video_gallery(evaluation: VideoEvaluation, pictures: Sequence[VideoPicture]) -> tuple[list[Section], Scale | None]:
    """Sections by role, and the legend; None where no picture has a map.

    False alarms and misses keep the order of `pictures`; of the peaks the highest of each video come first.
    """
    calibration, operation = evaluation.calibration, evaluation.operation
    maps = [picture.map for picture in pictures if picture.map is not None]
    low, high = scale_for(calibration, maps)
    counts = {} if operation is None else {"false_alarm": operation.false_alarms, "miss": operation.missed}
    sections = []
    for role, kind in _KINDS.items():
        chosen = [picture for picture in pictures if picture.role == role]
        shots = _shots(_by_turns(chosen) if role == "peak" else chosen, evaluation, kind, low, high)
        if shots:
            decided = operation is not None
            title, about = (kind.title, kind.about) if decided else (kind.undecided, kind.undecided_about)
            total = counts.get(role, len(chosen) if len(chosen) > len(shots) else None)
            sections.append(Section(title, about, total, shots))
    threshold = calibration.pixel_threshold if calibration is not None else None
    return sections, scale(low, high, threshold) if maps else None


def _by_turns(pictures: Sequence[VideoPicture]) -> list[VideoPicture]:
    """The highest of each video by score, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    turns: list[tuple[int, VideoPicture]] = []
    for picture in sorted(pictures, key=lambda found: -found.score):
        turns.append((seen[picture.video], picture))
        seen[picture.video] += 1
    return [picture for _, picture in sorted(turns, key=lambda turn: turn[0])]


def _shots(
    pictures: Sequence[VideoPicture], evaluation: VideoEvaluation, kind: _Kind, low: float, high: float
) -> list[Shot]:
    """The first of the pictures, as many as the page can bear."""
    calibration = evaluation.calibration
    shots: list[Shot] = []
    room = kind.characters
    for picture in pictures[: kind.most]:
        threshold = calibration.pixel_threshold if calibration is not None else None
        panels = frames(
            frame_panels(
                picture.image,
                map=picture.map,
                mask=picture.mask,
                reconstruction=picture.remade,
                threshold=threshold,
                low=low,
                high=high,
            )
        )
        room -= sum(len(panel.uri) for panel in panels)
        if room < 0 and shots:
            break
        when = [] if picture.time_s is None else [clock_text(picture.time_s)]
        p_value = None if calibration is None else float(calibration.p_value(np.array([picture.score]))[0])
        shots.append(
            Shot(
                name=" · ".join([picture.video, *when, f"frame {picture.frame:,}"]),
                kind=known(picture.label),
                score=picture.score,
                against=against(picture.score, calibration.threshold if calibration is not None else None),
                p_value=p_value,
                frames=panels,
            )
        )
    return shots
