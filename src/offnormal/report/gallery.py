"""The pictures of a report: misses, false alarms and typical catches, each with its heat map and its mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from offnormal.evaluation import Evaluation
from offnormal.report import wording
from offnormal.report.overlay import gradient, scale_for
from offnormal.report.panels import Panel, as_data_uri, triptych
from offnormal.report.picture import Picture, Role
from offnormal.types import ANOMALOUS

_SECTIONS: dict[Role, tuple[str, str]] = {
    "miss": ("Worst misses", "anomalous pictures that were called normal, the lowest score first"),
    "false_alarm": ("Worst false alarms", "normal pictures that were called anomalous, the highest score first"),
    "caught": ("Typical catches", "anomalous pictures that were called anomalous"),
}
_UNDECIDED: dict[Role, tuple[str, str]] = {  # without a threshold nothing is called anything
    "miss": ("Lowest anomalous pictures", "the lowest score first"),
    "false_alarm": ("Highest normal pictures", "the highest score first"),
    "caught": ("Anomalous pictures", "typical ones"),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One panel, ready for the page."""

    caption: str
    uri: str  # data:
    width: int  # pixels
    height: int


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of the gallery."""

    name: str
    kind: str  # its defect, or what is known of it
    score: float
    against: float | None  # score over threshold; None where that says nothing
    p_value: float | None
    frames: list[Frame]

    @property
    def wide(self) -> bool:
        """Whether it needs the whole width of the page: three flat panels side by side, or four."""
        number, first = len(self.frames), self.frames[0]
        return number > 3 or (number > 2 and first.width > 1.6 * first.height)


@dataclass(frozen=True, slots=True)
class Section:
    """All pictures of one role."""

    title: str
    about: str
    of: int | None  # how many there are in the test; None when that is not known
    shots: list[Shot]


@dataclass(frozen=True, slots=True)
class Scale:
    """The legend of the heat maps: a CSS gradient with its ends and the threshold in the middle."""

    css: str
    low: float
    high: float
    threshold: float | None


def gallery(evaluation: Evaluation, pictures: Sequence[Picture]) -> tuple[list[Section], Scale | None]:
    """Sections by role in the order of `pictures`, and the legend; None where no picture has a map."""
    maps = [picture.map for picture in pictures if picture.map is not None]
    calibration = evaluation.calibration
    threshold = calibration.pixel_threshold if calibration is not None else None
    low, high = scale_for(calibration, maps)
    counts = evaluation.confusion
    totals: dict[Role, int] = {}
    if counts is not None:
        totals = {"miss": counts.escape, "false_alarm": counts.false_alarm, "caught": counts.caught}
    sections = []
    for role, (title, about) in (_SECTIONS if calibration is not None else _UNDECIDED).items():
        shots = [_shot(picture, evaluation, threshold, low, high) for picture in pictures if picture.role == role]
        if shots:
            sections.append(Section(title, about, totals.get(role), shots))
    return sections, scale(low, high, threshold) if maps else None


def scale(low: float, high: float, threshold: float | None) -> Scale:
    """The legend of heat maps drawn between two ends."""
    stops = ", ".join(f"rgb({red} {green} {blue} / {cover})" for red, green, blue, cover in gradient())
    return Scale(f"linear-gradient(90deg, {stops})", low, high, threshold)


def frames(panels: Sequence[Panel]) -> list[Frame]:
    """Panels as they stand in the page."""
    return [Frame(panel.caption, as_data_uri(panel.image), *panel.image.size) for panel in panels]


def against(score: float, threshold: float | None) -> float | None:
    """How many times the threshold a score is; None where that says nothing."""
    return score / threshold if threshold is not None and threshold > 0 and score > 0 else None


def known(label: int | None) -> str:
    """What a label says, in a word or two."""
    return "no label" if label is None else "anomalous" if label == ANOMALOUS else "normal"


def _shot(picture: Picture, evaluation: Evaluation, threshold: float | None, low: float, high: float) -> Shot:
    row, root = picture.row, evaluation.dataset.root
    limit = evaluation.calibration.threshold if evaluation.calibration is not None else None
    return Shot(
        name=wording.name_of(row.sample.path, root),
        kind=row.sample.defect if row.sample.label == ANOMALOUS else known(row.sample.label),
        score=row.score,
        against=against(row.score, limit),
        p_value=row.p_value,
        frames=frames(triptych(picture, threshold=threshold, low=low, high=high)),
    )
