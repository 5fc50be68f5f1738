"""A page as a reader sees it: its words and the rows of its tables; checks what must hold for every page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_SPACED = {"h1", "h2", "h3", "p", "div", "dt", "dd", "td", "th", "span", "br"}
_VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """Words, table rows, and every attribute; fails on tags that do not match."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.rows, self.attributes = [], [], [], []
        self.words = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.words += " " * (tag in _SPACED)
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        elif {"td", "th"} & set(self.open) and tag in _SPACED:
            self.rows[-1][-1] += " "

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, name):
        """Cells of the first table row whose heading is `name`."""
        rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        return next(row for row in rows if row and row[0] == name)

    def titles(self):
        """The anchors of the blocks, in their order."""
        return [value for name, value in self.attributes if name == "id" and value and value.isalpha()]


def read(html, *, links=("#",)):
    """The page; links: what an href may begin with."""
    reader = Reader()
    reader.feed(html)
    assert not reader.open
    reader.words = " ".join(reader.words.split())
    assert "http" not in html, "no outside address"
    assert "script" not in reader.tags and "link" not in reader.tags and "@import" not in html
    for name, value in reader.attributes:
        assert not name.startswith("on")
        if name == "src":
            assert value.startswith("data:image/webp;base64,")
        if name == "href":
            assert value.startswith(links)
    assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)\)", html))
    return reader
