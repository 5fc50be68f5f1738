"""The clips that fared worst, some frames of each: anomalous ones that score low, normal ones that score high."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from offnormal.clip_evaluation import ClipEvaluation, ScoredClip
from offnormal.drawing.panels import Panel
from offnormal.report.gallery import Section, Shot, against, frames, known
from offnormal.types import ANOMALOUS

ClipRole = Literal["miss", "false_alarm"]
_SIDE = 200  # pixels of the longer side of a frame
_TITLES: dict[tuple[ClipRole, bool], tuple[str, str]] = {  # whether any was judged wrongly
    ("miss", True): ("Worst misses", "anomalous clips that were called normal, the lowest score first"),
    ("false_alarm", True): ("Worst false alarms", "normal clips that were called anomalous, the highest score first"),
    ("miss", False): ("Anomalous clips that come nearest", "none was missed; the lowest score first"),
    ("false_alarm", False): ("Normal clips that come nearest", "none was a false alarm; the highest score first"),
}
_UNDECIDED: dict[ClipRole, tuple[str, str]] = {
    "miss": ("Lowest anomalous clips", "the lowest score first"),
    "false_alarm": ("Highest normal clips", "the highest score first"),
}


@dataclass(frozen=True, slots=True, eq=False)
class ClipPicture:
    """One clip as it is shown."""

    role: ClipRole
    row: ScoredClip
    images: tuple[np.ndarray, ...]  # frames (H, W, 3) uint8 spread over it


def clip_gallery(evaluation: ClipEvaluation, pictures: Sequence[ClipPicture]) -> list[Section]:
    """Sections by role in the order of `pictures`; of clips judged wrongly those alone, if there are any."""
    sections = []
    for role in ("miss", "false_alarm"):
        chosen = [picture for picture in pictures if picture.role == role]
        wrong = [picture for picture in chosen if picture.row.anomalous is (role == "false_alarm")]
        if not chosen:
            continue
        decided = evaluation.calibration is not None
        title, about = _TITLES[role, bool(wrong)] if decided else _UNDECIDED[role]
        number = None
        if decided and wrong:
            chosen = wrong
            number = sum(
                row.anomalous is (role == "false_alarm") and (row.label == ANOMALOUS) == (role == "miss")
                for row in evaluation.labelled
            )
        sections.append(Section(title, about, number, [_shot(picture, evaluation) for picture in chosen]))
    return sections


def _shot(picture: ClipPicture, evaluation: ClipEvaluation) -> Shot:
    row = picture.row
    panels = [Panel("", _small(image)) for image in picture.images]
    return Shot(
        name=row.video.name,
        kind=row.video.class_name or known(row.label),
        score=row.score,
        against=against(row.score, evaluation.threshold),
        p_value=row.p_value,
        frames=frames(panels),
    )


def _small(image: np.ndarray) -> Image.Image:
    small = Image.fromarray(image)
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return small
