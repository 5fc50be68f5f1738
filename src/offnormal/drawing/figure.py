"""Matplotlib figures as inline SVG: colors and fonts follow the page, light or dark, without external links."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colors of the light page by name; in the SVG each becomes the page variable of that name, which dark pages override.
# Blue and vermilion are distinguishable for the color-blind and in grayscale (Okabe and Ito, 2008, darkened for text).
COLORS = {
    "ink": "#1b2330",
    "muted": "#667085",
    "rule": "#d8dde6",
    "normal": "#2f6ca8",
    "anomalous": "#cf4f22",
    "unknown": "#6b6f82",
}
# Colors of runs or classes, from the same palette; the report's style.css overrides them on dark pages.
RUN_COLORS = ("#0066a8", "#c24a12", "#00835c", "#a8478a", "#8a6a00", "#4b4fc4", "#b3243f", "#4f6b18", "#3d4654")
_FONT_SIZE = 11  # pixels at the original width of the figure
_OUTER = re.compile(r"<svg .*?>", re.DOTALL)
_UNUSED = re.compile(r"<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>|<defs>\s*</defs>", re.DOTALL)
_FAMILY = re.compile(r" ?font-family: [^;\"]*;?")
_TAG = re.compile(r"<[^>]*>")
_LONG_DECIMALS = re.compile(r"(\.\d\d)\d+")
_ID = re.compile(r' id="([^"]*)"')
_NULL_ROTATION = re.compile(r' transform="rotate\(-0 [^)]*\)"')


def new_axes(width: int, height: int, *, x: str, y: str) -> tuple[Figure, Axes]:
    """Create a figure (width, height in pixels) with one plot area in the style of the report; x, y: axis labels."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="none")
    FigureCanvasSVG(figure)
    left, right, top, bottom = 46 / width, 1 - 12 / width, 1 - 20 / height, 42 / height
    axes = figure.add_axes((left, bottom, right - left, top - bottom), facecolor="none")
    axes.set_xlabel(x, fontsize=_FONT_SIZE, color=COLORS["muted"], labelpad=6)
    axes.set_ylabel(y, fontsize=_FONT_SIZE, color=COLORS["muted"], labelpad=6)
    axes.tick_params(which="both", left=False, bottom=False, labelsize=_FONT_SIZE, labelcolor=COLORS["muted"])
    axes.grid(visible=True, color=COLORS["rule"], linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(COLORS["muted"])
        spine.set_linewidth(0.8)
    return figure, axes


def annotate(axes: Axes, x: float, y: float, text: str, *, color: str, ha: str = "left", va: str = "bottom") -> None:
    """Write `text` next to the point (x, y), in data units."""
    side = {"left": 5, "right": -5, "center": 0}[ha]
    axes.annotate(
        text,
        (x, y),
        (side, {"bottom": 3, "top": -3, "center": 0}[va]),
        textcoords="offset points",
        ha=ha,
        va=va,
        fontsize=_FONT_SIZE,
        color=COLORS[color],
        parse_math=False,
        annotation_clip=False,
    )


def to_svg(figure: Figure, title: str) -> str:
    """Convert the figure to an <svg> element for an HTML page; screen readers read `title`.

    It scales with its container, inherits the page's font and colors, and has no external links.
    """
    import matplotlib

    width, height = (round(float(side) * 72) for side in figure.get_size_inches())
    buffer = io.StringIO()
    salt = f"{title} {width}".encode("utf-8", "replace").decode()  # names may contain undecodable bytes
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    opening = _OUTER.search(svg)
    svg = _UNUSED.sub("", svg[opening.end() :] if opening else svg)
    svg = _NULL_ROTATION.sub("", _TAG.sub(_shorten_tag, svg)).replace("xlink:href", "href")
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = _ID.sub(lambda match: match[0] if match[1] in used else "", svg)
    for name, color in (COLORS | {f"run-{number}": color for number, color in enumerate(RUN_COLORS, 1)}).items():
        svg = svg.replace(color, f"var(--{name}, {color})")
    svg = re.sub(r">\s+<", "><", re.sub(r"\s*\n\s*", " ", svg))
    return f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {width} {height}">{svg.strip()}'


def to_png(figure: Figure, title: str, lines: list[tuple[str, str, bool]]) -> bytes:
    """Render the figure on white at twice its size in pixels, with title and legend above it.

    lines: name, color, and dashed flag of each line in the legend.
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
        fontsize=_FONT_SIZE,
        labelcolor=COLORS["ink"],
        title=title,
        alignment="left",
        title_fontproperties={"size": _FONT_SIZE, "weight": "bold"},
    )
    legend.get_title().set_color(COLORS["ink"])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, facecolor="white", bbox_inches="tight", pad_inches=0.1)
    return buffer.getvalue()


def _shorten_tag(tag: re.Match[str]) -> str:
    """Remove the font of a tag and shorten its coordinates to two decimals; text between tags stays unchanged."""
    return _LONG_DECIMALS.sub(r"\1", _FAMILY.sub("", tag[0]))
