"""offnormal list detectors|backbones|layouts|sinks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Literal

from offnormal import registry
from offnormal.cli.show import say, say_json
from offnormal.errors import UsageError


def command(
    what: Literal["detectors", "backbones", "layouts", "sinks"],
    name: str | None = None,
    /,
    *,
    search: str = "",
    input: str | None = None,
    time: bool = False,
    json: bool = False,
) -> int:
    """List detectors, backbones, dataset layouts, or sinks.

    Parameters
    ----------
    what
        What to list.
    name
        Show this entry only; for a video backbone, with its details.
    search
        Show names that contain this text.
    input
        With backbones: show the output for clips of this size, TxHxW such as 15x256x256, or 1x15x256x256 for gray.
    time
        With --input: also measure the time per clip on this machine.
    json
        Print one JSON object per entry.
    """
    if what != "backbones" and (input is not None or time):
        raise UsageError(f"--input and --time are for `offnormal list backbones`, not for {what}")
    if time and input is None:
        raise UsageError("--time needs --input, the size of the clips: --input 15x256x256")
    found = _videos(name, search, input, time=time) if _is_of_clips(what, name, input) else _entries(what, name, search)
    for row in found:
        if json:
            say_json({key: value for key, value in row.items() if key != "notes"})
        else:
            _say(row)
    return 0


def _say(row: dict[str, Any]) -> None:
    own, summary = row["name"], row["summary"]
    say(f"{own:<20} {summary}" if len(own) < 20 else f"{own}\n{'':<20} {summary}")
    for text in row.get("notes", ()):
        say(f"{'':<20} {text}")


def _is_of_clips(what: str, name: str | None, size: str | None) -> bool:
    of_clips = name is not None and name.partition(":")[0] in registry.names("backbones")
    return what == "backbones" and (of_clips or size is not None)


def _videos(name: str | None, search: str, size: str | None, *, time: bool) -> Iterator[dict[str, Any]]:
    from offnormal.backbones.video.overview import describe, parse_input

    names = [name] if name is not None else list(registry.names("backbones"))
    clip = parse_input(size) if size is not None else None
    for each in names:
        if search in each:
            row = describe("frames:efficientnet_lite0" if each == "frames" else each, clip, time=time)
            yield _with_decoder(row, clip) if name is not None and clip is not None and "code" in row else row


def _with_decoder(row: dict[str, Any], clip: tuple[int, int, int, int]) -> dict[str, Any]:
    """A description of an encoder with the decoder that MemAE derives for it."""
    from offnormal.backbones.video.overview import times
    from offnormal.detectors.memae.encoder import derived_blocks

    blocks, lines, before = derived_blocks(row["name"], clip), [], row["code"][1:]
    for block in blocks:
        numbers = {"kernel": block.kernel, "stride": block.stride, "output padding": block.output_padding}
        line = ", ".join(f"{what} {times(values)}" for what, values in numbers.items())
        resized = "" if block.reads == before else f", its input resized to {times(block.reads)}"
        lines.append(f"decoder {times((block.channels, *block.size))}: {line}{resized}")
        before = block.size
    return {**row, "decoder": [asdict(block) for block in blocks], "notes": [*row["notes"], *lines]}


def _entries(what: str, name: str | None, search: str) -> list[dict[str, Any]]:
    rows = _backbones(search or name or "") if what == "backbones" else _registered(what)
    if name is not None and not any(row["name"] == name for row in rows):
        if what != "backbones":
            registry.resolve(what, name)
        raise UsageError(f"no backbone is called {name!r}; `offnormal list backbones --search WORD` finds names")
    return [row for row in rows if search in row["name"] and name in (None, row["name"])]


def _registered(kind: str) -> list[dict[str, Any]]:
    if kind in ("detectors", "backbones"):
        return [{"name": name, "summary": summary} for name, summary in registry.names(kind).items()]
    classes = registry.resolve_all(kind)
    return [_described(kind, name, registry.names(kind)[name], found) for name, found in classes.items()]


def _described(kind: str, name: str, summary: str, found: Any) -> dict[str, Any]:
    """A layout or a sink, described by its class."""
    row: dict[str, Any] = {"name": name, "summary": summary}
    if kind == "layouts":
        row |= {"tree": found.tree, "source": found.source, "licence": found.licence}
        return {**row, "notes": [f"expected: {found.tree}", f"data: {found.source}", f"licence: {found.licence}"]}
    return {**row, "notes": _said(name, found), "options": list(found.Options.model_fields)}


def _said(name: str, sink: Any) -> list[str]:
    """The flag of a sink, and what it is alerted about."""
    keys = [key for key in sink.Options.model_fields if key not in ("name", "when")]
    when = " and ".join(sink.default_when)
    return [f"--sink {name}:{sink.target_option.upper()}; alerts: {when}; keys in a file: {', '.join(keys)}"]


def _backbones(search: str) -> list[dict[str, Any]]:
    from offnormal.backbones.images import RECIPES, known_names

    rows = [{"name": name, "summary": f"{recipe.summary} ({recipe.licence})"} for name, recipe in RECIPES.items()]
    clips = _registered("backbones")
    others = [name for name in known_names() if name not in RECIPES]
    if search:
        return [*rows, *clips, *({"name": name, "summary": "timm"} for name in others)]
    more = {"name": "<any timm name>", "summary": f"{len(others)} networks; narrow down with --search"}
    return [*rows, more, *clips]
