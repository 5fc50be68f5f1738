"""Encoders of clips, by name, instead of MemAE's plain encoder."""

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

PLAIN = "plain"  # MemAE's published encoder


class ClipEncoder(Encoder):
    """Adapts a clip backbone to MemAE: takes pixels in [-1, 1] and passes them on in 0-1."""

    def __init__(self, name: str, channels: int, temporal: Temporal = "mixed", *, frozen: bool = False) -> None:
        """Create with random weights from torch's generator; temporal: kind of downsampling; frozen: never trained.

        Raises ConfigError for an unknown name or kind of downsampling.
        """
        super().__init__()
        self.backbone: VideoBackbone = build_encoder(name, in_channels=channels, temporal=temporal)
        self.channels = self.backbone.channels
        self.strides = self.backbone.strides
        if frozen:
            self.backbone.freeze()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Clips (N, C, T, H, W) in [-1, 1] -> features by stage; the last is the code."""
        features: dict[str, Tensor] = self.backbone((x + 1) / 2)
        return features


def derive_decoder_blocks(name: str, clip: tuple[int, int, int, int]) -> list[Block]:
    """Decoder blocks for an encoder and clips (C, T, H, W), deepest first; nothing is computed.

    Raises ConfigError for a network that is not an encoder, or that does not accept such clips.
    """
    channels, *size = clip
    with torch.device("meta"):
        encoder = ClipEncoder(name, channels)
        decoder = Decoder(encoder, channels)
    stages = encoder.backbone.stages((size[0], size[1], size[2]))
    return decoder.blocks([clip[1:], *(stage.size for stage in stages[:-1])])


def validate_encoder_name(name: str) -> None:
    """ConfigError unless `name` is an encoder, with the nearest name or the reason."""
    if name == PLAIN:
        return
    backbones = registry.names("backbones")
    if name in backbones or name.partition(":")[0] in backbones.keys() - set(encoder_names()):
        if not is_encoder(name):
            build_encoder(name)  # raises ConfigError with the reason
        return
    encoders = [PLAIN, *encoder_names()]
    near = difflib.get_close_matches(name.lower(), encoders, n=1)
    advice = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"unknown encoder {name!r}: {advice}expected one of {', '.join(encoders)}")
