"""Description of clip networks: card, stages, and cost."""

from __future__ import annotations

import re
from typing import Any

import torch

from offnormal import registry
from offnormal.backbones.video.base import Size, VideoBackbone
from offnormal.backbones.video.catalogue import build_embedder, build_encoder, is_encoder
from offnormal.backbones.video.cost import count, seconds_per_clip
from offnormal.errors import ConfigError, PluginError, rounded

Clip = tuple[int, int, int, int]  # (C, T, H, W)
Row = dict[str, Any]  # name, summary, notes, and other facts


def parse_input(text: str) -> Clip:
    """Parse `15x256x256`, or `1x15x256x256` with channels (default 3), to (C, T, H, W).

    Raises ConfigError for other text.

    >>> parse_input("15x256x256"), parse_input("1x15x256x256")
    ((3, 15, 256, 256), (1, 15, 256, 256))
    """
    numbers = [int(number) for number in text.split("x")] if re.fullmatch(r"\d+(x\d+){2,3}", text) else []
    channels, *size = numbers if len(numbers) == 4 else [3, *numbers]
    if len(size) != 3 or min(size) < 1 or channels not in (1, 3):
        raise ConfigError(
            f"input {text!r}: expected frames x height x width, such as 15x256x256, or 1x15x256x256 for gray"
        )
    return channels, size[0], size[1], size[2]


def describe(name: str, clip: Clip | None = None, *, time: bool = False) -> Row:
    """Facts of a network by name, with `notes` as text; cost and stages only with a clip size (C, T, H, W).

    time: also measure seconds per clip. A wrong clip size or a missing package becomes a note. Raises ConfigError for
    an unknown name.
    """
    row: Row = {"name": name, "summary": registry.names("backbones").get(name.partition(":")[0], "")}
    try:
        with torch.device("meta"):  # without values
            backbone = _build(name, 3 if clip is None else clip[0])
        if clip is None:
            row |= backbone.card.model_dump(exclude={"backbone", "source", "sha256"})
            return {**row, "notes": _card(backbone)}
        row |= _facts(backbone, clip[1:])
        if time:
            row["seconds"] = round(seconds_per_clip(_build(name, clip[0]), clip[1:]), 4)
    except (ConfigError, PluginError) as error:
        if not row["summary"]:
            raise
        return {**row, "problem": str(error), "notes": [str(error)]}
    return {**row, "notes": _format_facts(row, clip)}


def _build(name: str, channels: int) -> VideoBackbone:
    build = build_encoder if is_encoder(name) else build_embedder
    return build(name, in_channels=channels)


def _facts(backbone: VideoBackbone, size: Size) -> Row:
    facts: Row = {}
    if backbone.refusal is None:
        stages = backbone.stages(size)
        facts["stages"] = {stage.name: (stage.channels, *stage.size) for stage in stages}
        facts["code"] = (stages[-1].channels, *stages[-1].size)
    else:
        facts["embedding"] = backbone.card.embedding
    cost = count(backbone, size)
    return {**facts, "parameters": cost.parameters, "macs": cost.macs}


def _format_facts(row: Row, clip: Clip) -> list[str]:
    notes = []
    if "stages" in row:
        notes.append(", ".join(f"{stage} {format_size(shape)}" for stage, shape in row["stages"].items()))
        notes.append(f"code {format_size(row['code'])} of {format_size(clip)}")
    else:
        notes.append(f"embedding of {row['embedding']} numbers for {format_size(clip)}")
    cost = f"{row['parameters'] / 1e6:.1f} M parameters, {row['macs'] / 1e9:.1f} GMAC"
    return [*notes, f"{cost}, {rounded(row['seconds'])} s per clip" if "seconds" in row else cost]


def _card(backbone: VideoBackbone) -> list[str]:
    card = backbone.card
    every = "" if card.every is None else f", 1 of every {card.every}"
    clip = f"clips of {card.frames} frames{every}, {card.size[0]}x{card.size[1]} px"
    normalization = f"mean {_format_numbers(card.mean)}, std {_format_numbers(card.std)}"
    top1 = "" if card.top1 is None else f", Kinetics-400 {card.top1:.1f} %"
    use = "; not for commercial use" if card.non_commercial else ""
    if backbone.refusal is None:
        stages = zip(backbone.channels.items(), backbone.strides.values(), strict=True)
        role = "encoder: " + ", ".join(f"{name} {width} / {format_size(stride)}" for (name, width), stride in stages)
    else:
        role = f"no encoder: {backbone.refusal}"
    return [
        f"{clip}; {normalization}; input {card.layout}",
        f"embedding of {card.embedding} numbers",
        f"{role}{' (channels / strides)' if backbone.refusal is None else ''}",
        f"weights: {card.published or 'none published'}{top1}",
        f"license: {card.license}{use}",
    ]


def format_size(numbers: tuple[int, ...]) -> str:
    """Format numbers as a size.

    >>> format_size((15, 256, 256))
    '15x256x256'
    """
    return "x".join(map(str, numbers))


def _format_numbers(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:.3g}" for number in numbers)
