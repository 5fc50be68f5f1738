"""offnormal list detectors|backbones|layouts|sinks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

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
    """What there is to choose from.

    Parameters
    ----------
    what
        detectors, backbones, layouts or sinks.
    name
        Only the one of this name; of a backbone of clips all that is known.
    search
        Only names that contain this.
    input
        Backbones of clips: what each makes of clips of T x H x W, such as 15x256x256, or 1x15x256x256 for grey ones.
        An encoder is shown as MemAE uses it, by its name also with the decoder derived for it; an embedder with its
        embedding.
    time
        With --input: measure on this machine, too, how long a clip takes.
    json
        Print one JSON object per entry.
    """
    if what != "backbones" and (input is not None or time):
        raise UsageError(f"--input and --time are for `offnormal list backbones`, not for {what}")
    if time and input is None:
        raise UsageError("--time needs --input, the size of the clips: --input 15x256x256")
    entries = (
        _videos(name, search, input, time=time) if _is_of_clips(what, name, input) else _entries(what, name, search)
    )
    for entry in entries:
        if json:
            say_json({"name": entry.name, "summary": entry.summary, **entry.facts})
            continue
        say(f"{entry.name:<20} {entry.summary}" if len(entry.name) < 20 else f"{entry.name}\n{'':<20} {entry.summary}")
        for text in entry.notes:
            say(f"{'':<20} {text}")
    return 0


@dataclass(frozen=True, slots=True)
class _Entry:
    """One thing to choose."""

    name: str
    summary: str
    notes: Sequence[str] = ()  # lines of text
    facts: Mapping[str, object] = field(default_factory=dict)  # of JSON


def _is_of_clips(what: str, name: str | None, size: str | None) -> bool:
    of_clips = name is not None and name.partition(":")[0] in registry.names("backbones")
    return what == "backbones" and (of_clips or size is not None)


def _videos(name: str | None, search: str, size: str | None, *, time: bool) -> Iterator[_Entry]:
    from offnormal.backbones.video.overview import describe, parse_input

    names = [name] if name is not None else list(registry.names("backbones"))
    clip = parse_input(size) if size is not None else None
    for each in names:
        if search not in each:
            continue
        facts = describe("frames:efficientnet_lite0" if each == "frames" else each, clip, time=time)
        lines: list[str] = []
        if name is not None and clip is not None and "code" in facts:
            blocks, lines = _decoder(facts["name"], clip, facts["code"][1:])
            facts["decoder"] = blocks
        yield _Entry(facts.pop("name"), facts.pop("summary"), [*facts.pop("notes"), *lines], facts)


def _decoder(name: str, clip: tuple[int, int, int, int], code: tuple[int, ...]) -> tuple[list[object], list[str]]:
    """The blocks of the decoder that MemAE derives for an encoder, and a line for each; code: size that it reads."""
    from offnormal.backbones.video.overview import times
    from offnormal.detectors.memae.encoder import derived_blocks

    blocks, lines = derived_blocks(name, clip), []
    for block in blocks:
        numbers = {"kernel": block.kernel, "stride": block.stride, "output padding": block.output_padding}
        line = ", ".join(f"{what} {times(values)}" for what, values in numbers.items())
        resized = "" if block.reads == code else f", its input resized to {times(block.reads)}"
        lines.append(f"decoder {times((block.channels, *block.size))}: {line}{resized}")
        code = block.size
    return [asdict(block) for block in blocks], lines


def _entries(what: str, name: str | None, search: str) -> list[_Entry]:
    entries = _backbones(search or name or "") if what == "backbones" else _registered(what)
    if name is not None and not any(entry.name == name for entry in entries):
        if what != "backbones":
            registry.resolve(what, name)
        raise UsageError(f"no backbone is called {name!r}; `offnormal list backbones --search WORD` finds names")
    return [entry for entry in entries if search in entry.name and name in (None, entry.name)]


def _registered(kind: str) -> list[_Entry]:
    """What is registered; of a layout or a sink with what its class says."""
    summaries = registry.names(kind)
    if kind in ("detectors", "backbones"):
        return [_Entry(name, summary) for name, summary in summaries.items()]
    entries = []
    for name, found in registry.resolve_all(kind).items():
        if kind == "layouts":
            facts = {"tree": found.tree, "source": found.source, "licence": found.licence}
            notes = [f"expected: {found.tree}", f"data: {found.source}", f"licence: {found.licence}"]
        else:
            facts = {"options": list(found.Options.model_fields)}
            keys = ", ".join(key for key in facts["options"] if key not in ("name", "when"))
            when = " and ".join(found.default_when)
            notes = [f"--sink {name}:{found.target_option.upper()}; told when {when}; keys in a file: {keys}"]
        entries.append(_Entry(name, summaries[name], notes, facts))
    return entries


def _backbones(search: str) -> list[_Entry]:
    from offnormal.backbones.images import RECIPES, known_names

    entries = [_Entry(name, f"{recipe.summary} ({recipe.licence})") for name, recipe in RECIPES.items()]
    clips = _registered("backbones")
    others = [name for name in known_names() if name not in RECIPES]
    if search:
        return [*entries, *clips, *(_Entry(name, "timm") for name in others)]
    return [*entries, _Entry("<any timm name>", f"{len(others)} networks; narrow down with --search"), *clips]
