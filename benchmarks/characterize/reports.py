"""Section 7: text and numbers of the pages for images, videos, clips, and a comparison; pictures by their number."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import inputs
from fitted import FEW, fit
from program import Program, files_below, read_json


class _Text(HTMLParser):
    """What a reader sees: text by blocks, table rows as lines; text in drawings apart, as it moves with the layout."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.drawn: list[str] = []
        self.counts: dict[str, int] = {}
        self._inside: list[str] = []
        self._line: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("img", "svg", "table", "figure", "details", "section", "h1", "h2", "h3"):
            self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag in ("script", "style", "svg"):
            self._inside.append(tag)
        elif tag not in ("b", "i", "em", "strong", "span", "a", "td", "th", "code", "small", "sup", "sub"):
            self._end()
        if tag in ("td", "th"):
            self._line.append("|")

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if text and "svg" in self._inside and "style" not in self._inside:
            self.drawn.append(text)
        elif text and not self._inside:
            self._line.append(text)

    def _end(self) -> None:
        if self._line:
            self.lines.append(" ".join(self._line).strip())
            self._line = []


def page(path: Path) -> Any:
    """A page's lines, the text in its drawings, and how many pictures, tables, and headings it has."""
    if not path.is_file():
        return f"no {path.name}"
    reader = _Text()
    text = path.read_text(encoding="utf-8")
    reader.feed(text)
    reader.handle_starttag("html", [])
    outside = sorted(set(re.findall(r"(?:src|href)=\"(?!data:|#)([^\"]*)\"", text)))
    return {"lines": reader.lines, "drawn": sorted(reader.drawn), "counts": reader.counts, "links": outside}


def record(program: Program) -> dict[str, Any]:
    """An entry for each page."""
    root, results = program.folder("reports"), {}
    parts, yard = inputs.parts(root / "parts"), inputs.yard(root / "yard")
    moves = inputs.movements(root / "moves")
    of_moves: list[object] = ["--data", moves, "--normal-classes", "move_a", "move_b"]
    runs: dict[str, Path] = {}
    for name, data, options in (
        ("images", ["--data", parts], ("padim", "--size", 64)),
        ("images 2", ["--data", parts], ("pixel_gaussian", "--size", 64)),
        (
            "images trained",
            ["--data", parts],
            ("ganomaly", "--size", 32, "--width", 8, "--epochs", 2, "--batch-size", 8),
        ),
        ("videos", ["--data", yard], ("pixel_gaussian", "--size", 64)),
        ("videos 2", ["--data", yard], ("frame_difference", "--size", 64)),
        ("videos trained", ["--data", yard], ("mnad", "--size", 32, "--width", 8, "--epochs", 2, "--batch-size", 8)),
        ("clips", of_moves, ("embedding_ae", "--size", 32, "--frames", 4, "--steps", 20)),
        ("clips 2", of_moves, ("embedding_ae", "--size", 32, "--frames", 4, "--steps", 20, "--head", "knn")),
    ):
        _, run = fit(program, str(options[0]), *data, *options[1:], out=root / "runs" / name.replace(" ", "-"))
        if run is None:
            results[name] = "no run"
            continue
        runs[name] = run
        results[f"{name}, after fit"] = page(run / "report.html")
        program.call("evaluate", run, *data, *FEW)
        results[name] = page(run / "report.html")
        metrics = read_json(run / "metrics.json")
        results[f"{name}, metrics"] = metrics
    for name, others in {
        "compare images": ("images", "images 2", "images trained"),
        "compare videos": ("videos", "videos 2", "videos trained"),
        "compare clips": ("clips", "clips 2"),
        "compare units": ("images", "videos"),
        "compare combined": ("images", "images 2", "--combine"),
        "compare one": ("images",),
    }.items():
        out = root / name.replace(" ", "-")
        words = [runs.get(other, other) for other in others]
        for form in ("", "--json"):
            done = program.call("compare", *words, "--out", out, *([form] if form else []))
            results[f"{name} {form}".strip()] = done.entry(json=bool(form))
        if out.is_dir():
            results[f"{name}, written"] = {
                "files": files_below(out),
                "page": page(out / "report.html"),
                "json": read_json(out / "comparison.json"),
                "markdown": (out / "comparison.md").read_text().splitlines()
                if (out / "comparison.md").is_file()
                else None,
            }
    return results
