"""offnormal list detectors|backbones|layouts|sinks, or calibrations BUNDLE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from offnormal import registry
from offnormal.cli.show import say, say_json
from offnormal.errors import UsageError, score_text

if TYPE_CHECKING:
    from offnormal.backbones.video.overview import Row
    from offnormal.data.dataset import Layout
    from offnormal.sinks.base import Sink


def command(
    what: registry.Kind | Literal["calibrations"],
    name: str | None = None,
    /,
    *,
    search: str = "",
    input: str | None = None,
    time: bool = False,
    json: bool = False,
) -> int:
    """List detectors, backbones, dataset layouts, or sinks; or the calibrations of a bundle.

    Parameters
    ----------
    what
        What to list.
    name
        Show this entry only; for a video backbone, with its details. With calibrations: the bundle or run folder.
    search
        Show names that contain this text.
    input
        With backbones: show the output for clips of this size, TxHxW such as 15x256x256, or 1x15x256x256 for gray.
    time
        With --input: also measure the time per clip on this machine.
    json
        Print one JSON object per entry.
    """
    if what == "calibrations":
        return _calibrations(name, json=json)
    if what != "backbones" and (input is not None or time):
        raise UsageError(f"--input and --time are for `offnormal list backbones`, not for {what}")
    if time and input is None:
        raise UsageError("--time needs --input, the size of the clips: --input 15x256x256")
    of_clips = input is not None or (name is not None and name.partition(":")[0] in registry.names("backbones"))
    is_video = what == "backbones" and of_clips
    for row in _videos(name, search, input, time=time) if is_video else _entries(what, name, search):
        if json:
            say_json({key: value for key, value in row.items() if key != "notes"})
        else:
            _say(row)
    if what == "layouts" and not json:
        say("Notation: [optional], <one|of|these>, <any name>, NAME: a folder of any name, **: any depth")
    return 0


def _calibrations(bundle: str | None, *, json: bool) -> int:
    """The calibrations of a bundle, the current one marked."""
    if bundle is None:
        raise UsageError("list calibrations needs a bundle: offnormal list calibrations runs/NAME")
    from offnormal.bundle import load

    history = load(bundle, calibrated=False).history
    for entry in history.entries:
        is_current = entry.number == history.current
        if json:
            say_json({**asdict(entry), "is_current": is_current})
            continue
        state = " (current)" if is_current else ""
        say(f"{entry.number}  {entry.created}  threshold {score_text(entry.threshold)}  from {entry.source}{state}")
        say(f"   {entry.guarantee}")
    if not history.entries and not json:
        say("no calibration: offnormal calibrate BUNDLE --normal DIR")
    return 0


def _say(row: Row) -> None:
    entry, summary = row["name"], row["summary"]
    say(f"{entry:<20} {summary}" if len(entry) < 20 else f"{entry}\n{'':<20} {summary}")
    for text in row.get("notes", ()):
        say(f"{'':<20} {text}")


def _videos(name: str | None, search: str, size: str | None, *, time: bool) -> Iterator[Row]:
    from offnormal.backbones.video.overview import describe, parse_input

    names = [name] if name is not None else list(registry.names("backbones"))
    clip = parse_input(size) if size is not None else None
    for each in names:
        if search in each:
            row = describe("frames:efficientnet_lite0" if each == "frames" else each, clip, time=time)
            yield _with_decoder(row, clip) if name is not None and clip is not None and "code" in row else row


def _with_decoder(row: Row, clip: tuple[int, int, int, int]) -> Row:
    """Add the decoder that MemAE derives to the description of an encoder."""
    from offnormal.backbones.video.overview import format_size
    from offnormal.detectors.memae.encoder import derive_decoder_blocks

    blocks, lines, before = derive_decoder_blocks(row["name"], clip), [], row["code"][1:]
    for block in blocks:
        numbers = {"kernel": block.kernel, "stride": block.stride, "output padding": block.output_padding}
        line = ", ".join(f"{what} {format_size(values)}" for what, values in numbers.items())
        resized = "" if block.reads == before else f", its input resized to {format_size(block.reads)}"
        lines.append(f"decoder {format_size((block.channels, *block.size))}: {line}{resized}")
        before = block.size
    return {**row, "decoder": [asdict(block) for block in blocks], "notes": [*row["notes"], *lines]}


def _entries(what: registry.Kind, name: str | None, search: str) -> list[Row]:
    rows = _backbones(search or name or "") if what == "backbones" else _registered(what)
    if name is not None and not any(row["name"] == name for row in rows):
        if what != "backbones":
            registry.resolve(what, name)
        raise UsageError(f"unknown backbone {name!r}: find names with offnormal list backbones --search WORD")
    return [row for row in rows if search in row["name"] and name in (None, row["name"])]


def _registered(kind: registry.Kind) -> list[Row]:
    """Return names and summaries; layouts and sinks also have facts from their classes."""
    summaries = registry.names(kind)
    if kind == "layouts":
        facts = {name: _of_layout(layout) for name, layout in registry.resolve_all(kind).items()}
    elif kind == "sinks":
        facts = {name: _of_sink(name, sink) for name, sink in registry.resolve_all(kind).items()}
    else:
        facts = {name: {} for name in summaries}
    return [{"name": name, "summary": summaries[name], **more} for name, more in facts.items()]


def _of_layout(layout: Layout) -> Row:
    values = {"tree": layout.tree, "source": layout.source, "license": layout.license}
    return {**values, "notes": [f"expected: {layout.tree}", f"data: {layout.source}", f"license: {layout.license}"]}


def _of_sink(name: str, sink: type[Sink]) -> Row:
    keys = [key for key in sink.Options.model_fields if key not in ("name", "when")]
    alerts = f"alerts: {' and '.join(sink.default_when)}"
    note = f"--sink {name}:{sink.target_option.upper()}; {alerts}; keys in a file: {', '.join(keys)}"
    return {"notes": [note], "options": list(sink.Options.model_fields)}


def _backbones(search: str) -> list[Row]:
    from offnormal.backbones.images import RECIPES, backbone_names

    rows = [{"name": name, "summary": f"{recipe.summary} ({recipe.license})"} for name, recipe in RECIPES.items()]
    clips = _registered("backbones")
    others = [name for name in backbone_names() if name not in RECIPES]
    if search:
        return [*rows, *clips, *({"name": name, "summary": "timm"} for name in others)]
    more = {"name": "<any timm name>", "summary": f"{len(others)} networks; narrow down with --search"}
    return [*rows, more, *clips]
