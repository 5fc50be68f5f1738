"""offnormal list detectors|backbones|layouts."""

from __future__ import annotations

from typing import Literal

from offnormal import registry
from offnormal.cli.show import say, say_json


def command(what: Literal["detectors", "backbones", "layouts"], /, *, search: str = "", json: bool = False) -> int:
    """What there is to choose from.

    Parameters
    ----------
    what
        detectors, backbones or layouts.
    search
        Only names that contain this.
    json
        Print one JSON object per entry.
    """
    rows = _backbones(search) if what == "backbones" else _registered(what)
    for row in rows:
        if search and search not in row["name"]:
            continue
        if json:
            say_json(row)
        else:
            name, summary, *more = row.values()
            say(f"{name:<20} {summary}")
            for text in more:
                say(f"{'':<20} {text}")
    return 0


def _registered(kind: str) -> list[dict[str, str]]:
    rows = []
    for name, summary in registry.names(kind).items():
        row = {"name": name, "summary": summary}
        if kind == "layouts":
            layout = registry.resolve(kind, name)
            row |= {
                "tree": f"expected: {layout.tree}",
                "source": f"data: {layout.source}",
                "licence": f"licence: {layout.licence}",
            }
        rows.append(row)
    return rows


def _backbones(search: str) -> list[dict[str, str]]:
    from offnormal.backbones.images import RECIPES, known_names

    rows = [{"name": name, "summary": f"{recipe.summary} ({recipe.licence})"} for name, recipe in RECIPES.items()]
    others = [name for name in known_names() if name not in RECIPES]
    if search:
        return rows + [{"name": name, "summary": "timm"} for name in others]
    return [
        *rows,
        {"name": "<any timm name>", "summary": f"{len(others)} networks; narrow down with --search"},
    ]
