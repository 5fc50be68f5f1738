"""Encoders in place of MemAE's own: networks of clips by name."""

from __future__ import annotations

import difflib

import torch
from torch import Tensor

from offnormal import registry
from offnormal.backbones.base import Encoder
from offnormal.backbones.video.base import Temporal, VideoBackbone
from offnormal.backbones.video.catalogue import build_encoder, encoder_names, is_encoder
from offnormal.detectors.parts.decoder import Block, Decoder
from offnormal.errors import ConfigError

PLAIN = "plain"  # MemAE's own


class ClipEncoder(Encoder):
    """A network of clips that gets pixels in [-1, 1], as MemAE has them, and sees them in 0-1, as it wants them."""

    def __init__(self, name: str, channels: int, temporal: Temporal = "mixed", *, frozen: bool = False) -> None:
        """With random weights, drawn from torch's generator; temporal: how it shortens time; frozen: it never learns.

        Raises ConfigError for a name or a way of shortening time that is not known.
        """
        super().__init__()
        self.backbone: VideoBackbone = build_encoder(name, in_channels=channels, temporal=temporal)
        self.channels = self.backbone.channels
        self.strides = self.backbone.strides
        if frozen:
            self.backbone.freeze()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Clips (N, C, T, H, W) in [-1, 1] -> stage -> features; the last is the code."""
        found: dict[str, Tensor] = self.backbone((x + 1) / 2)
        return found


def derived_blocks(name: str, clip: tuple[int, int, int, int]) -> list[Block]:
    """The decoder that MemAE derives for an encoder and clips (C, T, H, W), deepest block first; nothing is computed.

    Raises ConfigError for a network that is no encoder, or that cannot take such clips.
    """
    channels, *size = clip
    with torch.device("meta"):
        encoder = ClipEncoder(name, channels)
        decoder = Decoder(encoder, channels)
    stages = encoder.backbone.stages((size[0], size[1], size[2]))
    return decoder.blocks([clip[1:], *(stage.size for stage in stages[:-1])])


def refuse_other_names(name: str) -> None:
    """ConfigError for what is no encoder: with the nearest name, or with the reason why a network cannot be one."""
    if name == PLAIN:
        return
    kinds = registry.names("backbones")
    if name in kinds or name.partition(":")[0] in kinds.keys() - set(encoder_names()):
        if not is_encoder(name):
            build_encoder(name)  # which says why it cannot be one
        return
    known = [PLAIN, *encoder_names()]
    near = difflib.get_close_matches(name.lower(), known, n=1)
    advice = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"no encoder is called {name!r}: {advice}known are {', '.join(known)}")
