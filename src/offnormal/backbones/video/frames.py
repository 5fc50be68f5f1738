"""frames:<timm network>: image features of every frame, and their statistics over the clip."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from offnormal.backbones.images import TimmBackbone, deepest_layer
from offnormal.backbones.video.base import VideoBackbone, VideoCard
from offnormal.errors import ConfigError

PREFIX = "frames:"
_FRAMES = 8


class Frames(VideoBackbone):
    """Embedding of each frame by an image network: mean, standard deviation, and mean change over the clip."""

    trunk: TimmBackbone
    refusal = "it processes one frame at a time, so no stage covers the clip"

    def __init__(self, name: str, *, in_channels: int = 3) -> None:
        network = name.removeprefix(PREFIX)
        if not name.startswith(PREFIX) or not network:
            raise ConfigError(f"{name}: no image network; expected a name such as frames:efficientnet_lite0")
        trunk = TimmBackbone(network, [deepest_layer(network)])
        super().__init__(_card(name, trunk), trunk, in_channels)

    @property
    def network(self) -> nn.Module:
        """The image network, with the part names of timm."""
        inner = getattr(self.trunk.trunk, "model", None)  # inside the feature wrapper of timm
        return inner if isinstance(inner, nn.Module) else self.trunk.trunk

    def embed(self, x: Tensor) -> Tensor:
        """Clips (N, C, T, H, W) in 0-1 -> (N, 3 D): mean, standard deviation, mean absolute change between frames."""
        frames = x.expand(-1, 3, -1, -1, -1).transpose(1, 2).flatten(0, 1)  # (N T, 3, H, W); gray is repeated
        (features,) = self.trunk(frames).values()
        return statistics(features.mean((2, 3)).unflatten(0, (len(x), -1)))

    def load_pretrained(self, weights: Path | None = None) -> None:
        """Load the weights of the image network from a file or from the known source.

        Raises WeightsError for missing or wrong weights.
        """
        self.trunk.load_pretrained(weights)
        self.card = _card(self.card.backbone, self.trunk)
        self.warn_about_license()


def statistics(embeddings: Tensor) -> Tensor:
    """Mean, standard deviation, and mean absolute change over the frames of (N, T, D) -> (N, 3 D).

    >>> statistics(torch.tensor([[[0.0], [2.0]]])).tolist()
    [[1.0, 1.0, 2.0]]
    """
    change = embeddings.diff(dim=1).abs().sum(1) / max(1, embeddings.shape[1] - 1)
    return torch.cat([embeddings.mean(1), embeddings.std(1, correction=0), change], 1)


def _card(name: str, trunk: TimmBackbone) -> VideoCard:
    return VideoCard(
        **{**trunk.card.model_dump(), "backbone": name},
        frames=_FRAMES,
        every=None,
        layout="frames",
        embedding=3 * sum(trunk.channels.values()),
        published=trunk.card.backbone,
        non_commercial="-nc" in trunk.card.license.lower(),
    )
