"""The parts of a page: blocks with a title, and their elements; a template macro of the same name draws each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from offnormal.drawing.wording import hundred

ColumnKind = Literal["text", "num", "path", "wide", "notes"]
Tone = Literal["", "quiet", "plain", "held", "broken"]  # of a text; the last three are in a box
Colored = tuple[str, str, str]  # name, color variable, form: "" for a square, or a class of style.css


class Element:
    """Base class of the elements of a block; the macro named after the class draws it."""

    __slots__ = ()

    @property
    def macro(self) -> str:
        """The name in macros.html.j2."""
        return type(self).__name__.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Element):
    """A paragraph."""

    text: str
    label: str = ""  # bold, before the text
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One large figure with its unit and a note."""

    title: str
    value: str
    unit: str
    note: str
    color: str
    interval: tuple[float, float, float] | None = None  # low, value, high per 100


@dataclass(frozen=True, slots=True)
class Figures(Element):
    """Large figures side by side."""

    rows: Sequence[Figure]


@dataclass(frozen=True, slots=True)
class Tile:
    """One metric, or the reason why it is missing."""

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
    """Rates on one axis that starts at 0."""

    rows: Sequence[Track]
    unit: str
    limit: float = math.inf  # highest possible rate

    @property
    def end(self) -> float:
        """The right end of the axis."""
        return min(1.08 * max(value for track in self.rows for value in (track.rate, track.high)) or 1.0, self.limit)

    def percent(self, value: float) -> float:
        """The position of a rate on the line, in percent of its length."""
        return round(100 * value / self.end, 2)

    def text(self, value: float) -> str:
        """A rate as text."""
        return hundred(value)


@dataclass(frozen=True, slots=True)
class Legend(Element):
    """The meaning of colors."""

    rows: Sequence[Colored]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot(Element):
    """An SVG that fills the available width."""

    svg: str
    narrow: str = ""  # for phones; "": same as `svg`
    title: str = ""
    about: str = ""  # next to the title
    legend: Sequence[Colored] = ()
    style: str = ""  # classes of style.css


@dataclass(frozen=True, slots=True, kw_only=True)
class Plots(Element):
    """Plots side by side; with a summary, they are collapsed under it."""

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
    badge: str = ""  # before the text
    href: str = ""
    is_alert: bool = False  # the badge has the color of anomalies
    is_best: bool = False
    mark: str | None = None  # after the text, aligned in a column; "": empty


@dataclass(frozen=True, slots=True)
class Column:
    """Title and alignment of a column."""

    title: str
    kind: ColumnKind = "num"
    hint: str = ""  # quiet, below the title


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Element):
    """Rows of cells; the first cell of a row is its heading."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str | Cell]]
    groups: Sequence[tuple[str, int]] = ()  # title and number of columns below it
    foot: Sequence[str | Cell] = ()
    chosen: int | None = None  # highlighted row
    ruled: int | None = None
    more: int = 0  # number of rows that are not listed
    full_list: str = "metrics.json lists all"  # where all rows are
    style: str = ""  # classes of style.css


@dataclass(frozen=True, slots=True)
class Matrix(Element):
    """The confusion matrix."""

    passed: int
    false_alarms: int
    missed: int
    detected: int


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and its value; code (a hash, a version) is set in monospace."""

    name: str
    value: str
    code: bool = False


@dataclass(frozen=True, slots=True)
class Facts(Element):
    """A list of names and values."""

    rows: Sequence[Fact]


@dataclass(frozen=True, slots=True)
class Side(Element):
    """Two columns of elements."""

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
    """The legend of heat maps: a CSS gradient with its end values and the threshold in the middle."""

    css: str
    low: str
    high: str
    threshold: str  # "": none
    about: str


@dataclass(frozen=True, slots=True)
class GalleryImage:
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
    images: Sequence[GalleryImage]

    @property
    def is_wide(self) -> bool:
        """Whether it needs the full page width: three wide images, or four."""
        number, first = len(self.images), self.images[0]
        return number > 3 or (number > 2 and first.width > 1.6 * first.height)


@dataclass(frozen=True, slots=True)
class Shots(Element):
    """The units of a gallery; small images, such as those of MNIST, are not enlarged to fill half of the page."""

    shots: Sequence[Shot]
    is_small: bool = False


@dataclass(frozen=True, slots=True)
class Lanes(Element):
    """Rows of SVGs, each with a letter."""

    rows: Sequence[tuple[str, Sequence[str]]]  # letter and <svg>s
    ends: Sequence[str] = ()  # labels of the ends of the axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One section of a page."""

    name: str  # its anchor, unique on a page
    title: str
    elements: Sequence[Element]
    style: str = "card"  # classes of style.css; "bare": no frame and no visible title
