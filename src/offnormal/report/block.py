"""What a page consists of: blocks with a title, and in them elements, each drawn by the macro of its name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from offnormal.drawing.wording import hundred

ColumnKind = Literal["text", "num", "path", "wide", "notes"]
Tone = Literal["", "quiet", "plain", "held", "broken"]  # of a text; from "plain" on in a box
Colored = tuple[str, str, str]  # name, color of the page, form: "" a square, or a class of style.css


class Element:
    """A piece of a block, drawn by the macro of its class's name."""

    __slots__ = ()

    @property
    def macro(self) -> str:
        """Its name in macros.html.j2."""
        return type(self).__name__.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Element):
    """A paragraph."""

    text: str
    label: str = ""  # in bold before it
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One large figure with its unit and a line below it."""

    title: str
    value: str
    unit: str
    note: str
    color: str
    interval: tuple[float, float, float] | None = None  # low, value, high per 100, drawn on a line


@dataclass(frozen=True, slots=True)
class Figures(Element):
    """Large figures side by side."""

    rows: Sequence[Figure]


@dataclass(frozen=True, slots=True)
class Tile:
    """One metric, or why it is missing."""

    name: str
    value: float | None
    note: str


@dataclass(frozen=True, slots=True)
class Tiles(Element):
    """Metrics side by side."""

    rows: Sequence[Tile]


@dataclass(frozen=True, slots=True)
class Track:
    """A rate and its 95 % interval, drawn on one line."""

    label: str
    rate: float
    low: float
    high: float
    color: str


@dataclass(frozen=True, slots=True)
class Tracks(Element):
    """Rates on one axis from 0."""

    rows: Sequence[Track]
    unit: str
    most: float = math.inf  # that a rate can be

    @property
    def end(self) -> float:
        """The right end of the axis."""
        return min(1.08 * max(value for track in self.rows for value in (track.rate, track.high)) or 1.0, self.most)

    def percent(self, value: float) -> float:
        """Where a rate is on the line, in percent of its length."""
        return round(100 * value / self.end, 2)

    def text(self, value: float) -> str:
        """A rate as text."""
        return hundred(value)


@dataclass(frozen=True, slots=True)
class Legend(Element):
    """What colors mean."""

    rows: Sequence[Colored]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot(Element):
    """An SVG as wide as its place."""

    svg: str
    narrow: str = ""  # the same for phones; "" where `svg` serves both
    title: str = ""
    about: str = ""  # beside the title
    legend: Sequence[Colored] = ()
    style: str = ""  # classes of style.css


@dataclass(frozen=True, slots=True, kw_only=True)
class Plots(Element):
    """Plots side by side, folded where there is a summary of them."""

    plots: Sequence[Plot]
    columns: Literal["two", "three", "two squares"] = "three"
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a table."""

    text: str = ""
    note: str = ""  # quiet, on the same line
    below: str = ""  # quiet, on the next line
    bar: float | None = None  # a share, 0-1
    color: str = "normal"  # of the bar
    svg: str = ""
    badge: str = ""  # in a dark pill before the text
    href: str = ""
    is_alert: bool = False  # the badge is in the color of anomalies
    is_best: bool = False
    mark: str | None = None  # behind the text, in a column of its own; "" keeps that column


@dataclass(frozen=True, slots=True)
class Column:
    """How one column is titled and set."""

    title: str
    kind: ColumnKind = "num"
    hint: str = ""  # quiet, below the title


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Element):
    """Rows of cells; the first cell of a row is its heading."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str | Cell]]
    groups: Sequence[tuple[str, int]] = ()  # titles over so many columns, from the left
    foot: Sequence[str | Cell] = ()
    chosen: int | None = None  # row that is marked
    ruled: int | None = None  # row with a line above it
    more: int = 0  # rows that are not listed
    where: str = "metrics.json lists every one"
    style: str = ""  # classes of style.css


@dataclass(frozen=True, slots=True)
class Matrix(Element):
    """Decisions against labels."""

    passed: int
    false_alarms: int
    missed: int
    detected: int


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and its value; codes (hashes, versions) are set in fixed width."""

    name: str
    value: str
    code: bool = False


@dataclass(frozen=True, slots=True)
class Facts(Element):
    """Names and values below each other."""

    rows: Sequence[Fact]


@dataclass(frozen=True, slots=True)
class Side(Element):
    """Elements beside each other."""

    left: Sequence[Element]
    right: Sequence[Element]
    style: str = "split"


@dataclass(frozen=True, slots=True)
class Heading(Element):
    """A heading within a block."""

    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Scale(Element):
    """The legend of the heat maps: a CSS gradient with its ends and the threshold in the middle."""

    css: str
    low: str
    high: str
    threshold: str  # "": none
    about: str


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of a gallery."""

    caption: str
    uri: str  # data:
    width: int  # pixels
    height: int


@dataclass(frozen=True, slots=True)
class Shot:
    """One unit of a gallery."""

    name: str
    about: Sequence[str]  # the first in bold
    pictures: Sequence[Picture]

    @property
    def is_wide(self) -> bool:
        """Whether it needs the whole width of the page: three flat images side by side, or four."""
        number, first = len(self.pictures), self.pictures[0]
        return number > 3 or (number > 2 and first.width > 1.6 * first.height)


@dataclass(frozen=True, slots=True)
class Shots(Element):
    """Units of a gallery below each other."""

    shots: Sequence[Shot]


@dataclass(frozen=True, slots=True)
class Lanes(Element):
    """Rows of SVG with a letter before each."""

    rows: Sequence[tuple[str, Sequence[str]]]  # letter, <svg>s below each other
    ends: Sequence[str] = ()  # texts at both ends of the axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One section of a page."""

    name: str  # its anchor, unique on a page
    title: str
    elements: Sequence[Element]
    style: str = "card"  # classes of style.css; "bare": neither frame nor visible title
