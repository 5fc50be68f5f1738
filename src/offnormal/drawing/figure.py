"""Matplotlib figures that become part of a page: its colors and letters, light or dark, and no link to anywhere."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colors of the light page by name; in the SVG each becomes the page's variable of that name, which dark pages set
# anew. Blue and vermilion are told apart by the color-blind and in gray (Okabe and Ito, 2008, darkened for text).
COLORS = {
    "ink": "#1b2330",
    "muted": "#667085",
    "rule": "#d8dde6",
    "normal": "#2f6ca8",
    "anomalous": "#cf4f22",
    "unknown": "#6b6f82",
}
# Of several runs or classes, from the same palette; style.css of the report sets them anew on dark pages.
RUN_COLORS = ("#0066a8", "#c24a12", "#00835c", "#a8478a", "#8a6a00", "#4b4fc4", "#b3243f", "#4f6b18", "#3d4654")
_LETTERS = 11  # pixels at the figure's own width
_OUTER = re.compile(r"<svg .*?>", re.DOTALL)
_UNUSED = re.compile(r"<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>|<defs>\s*</defs>", re.DOTALL)
_FAMILY = re.compile(r" ?font-family: [^;\"]*;?")
_TAG = re.compile(r"<[^>]*>")
_LONG_DECIMALS = re.compile(r"(\.\d\d)\d+")
_ID = re.compile(r' id="([^"]*)"')
_STILL = re.compile(r' transform="rotate\(-0 [^)]*\)"')


def new_axes(width: int, height: int, *, x: str, y: str) -> tuple[Figure, Axes]:
    """A figure of width x height pixels with one plot area in the report's style, its axes named `x` and `y`."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="none")
    FigureCanvasSVG(figure)
    left, right, top, bottom = 46 / width, 1 - 12 / width, 1 - 20 / height, 42 / height
    axes = figure.add_axes((left, bottom, right - left, top - bottom), facecolor="none")
    axes.set_xlabel(x, fontsize=_LETTERS, color=COLORS["muted"], labelpad=6)
    axes.set_ylabel(y, fontsize=_LETTERS, color=COLORS["muted"], labelpad=6)
    axes.tick_params(which="both", left=False, bottom=False, labelsize=_LETTERS, labelcolor=COLORS["muted"])
    axes.grid(visible=True, color=COLORS["rule"], linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(COLORS["muted"])
        spine.set_linewidth(0.8)
    return figure, axes


def annotate_point(
    axes: Axes, x: float, y: float, text: str, *, color: str, ha: str = "left", va: str = "bottom"
) -> None:
    """Write `text` beside the point (x, y) of the plot, in data units."""
    side = {"left": 5, "right": -5, "center": 0}[ha]
    axes.annotate(
        text,
        (x, y),
        (side, {"bottom": 3, "top": -3, "center": 0}[va]),
        textcoords="offset points",
        ha=ha,
        va=va,
        fontsize=_LETTERS,
        color=COLORS[color],
        parse_math=False,
        annotation_clip=False,
    )


def to_svg(figure: Figure, title: str) -> str:
    """The figure as an <svg> element for an HTML page; `title` is read out to those who cannot see it.

    It scales with its surroundings, takes the page's font and colors, and names no outside address.
    """
    import matplotlib

    width, height = (round(float(side) * 72) for side in figure.get_size_inches())
    buffer = io.StringIO()
    salt = f"{title} {width}".encode("utf-8", "replace").decode()  # of names that may hold undecodable bytes
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawn = buffer.getvalue()
    opening = _OUTER.search(drawn)
    drawn = _UNUSED.sub("", drawn[opening.end() :] if opening else drawn)
    drawn = _STILL.sub("", _TAG.sub(_shorter, drawn)).replace("xlink:href", "href")
    used = set(re.findall(r"#([\w.-]+)", drawn))
    drawn = _ID.sub(lambda found: found[0] if found[1] in used else "", drawn)
    for name, color in (COLORS | {f"run-{number}": color for number, color in enumerate(RUN_COLORS, 1)}).items():
        drawn = drawn.replace(color, f"var(--{name}, {color})")
    drawn = re.sub(r">\s+<", "><", re.sub(r"\s*\n\s*", " ", drawn))
    return f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {width} {height}">{drawn.strip()}'


def to_png(figure: Figure, title: str, lines: list[tuple[str, str, bool]]) -> bytes:
    """The figure as an image on white, twice its size in pixels, with its title and a legend above it.

    lines: name, color and whether it is dashed, of each line of the legend.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.lines import Line2D

    FigureCanvasAgg(figure)
    handles = [Line2D([], [], color=color, linestyle="--" if dashed else "-") for _, color, dashed in lines]
    names = [name for name, _, _ in lines]
    legend = figure.axes[0].legend(
        handles,
        names,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=2,
        frameon=False,
        fontsize=_LETTERS,
        labelcolor=COLORS["ink"],
        title=title,
        alignment="left",
        title_fontproperties={"size": _LETTERS, "weight": "bold"},
    )
    legend.get_title().set_color(COLORS["ink"])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, facecolor="white", bbox_inches="tight", pad_inches=0.1)
    return buffer.getvalue()


def _shorter(tag: re.Match[str]) -> str:
    """A tag without its font and with two decimals a coordinate; what stands between tags is for people to read."""
    return _LONG_DECIMALS.sub(r"\1", _FAMILY.sub("", tag[0]))
