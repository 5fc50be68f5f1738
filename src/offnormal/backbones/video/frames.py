"""frames:<timm network>: pictures' features of every frame, and how they run over the clip."""

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
    """Embedding of each frame by a network of pictures: its mean, spread and mean change over the clip."""

    trunk: TimmBackbone
    refusal = "it sees one frame at a time, and no tensor of it spans the clip"

    def __init__(self, name: str, *, in_channels: int = 3) -> None:
        network = name.removeprefix(PREFIX)
        if not name.startswith(PREFIX) or not network:
            raise ConfigError(
                f"{name}: say which network of pictures sees the frames, such as frames:efficientnet_lite0"
            )
        trunk = TimmBackbone(network, [deepest_layer(network)])
        super().__init__(_card(name, trunk), trunk, in_channels)

    @property
    def network(self) -> nn.Module:
        """The network of pictures, its parts named as timm names them."""
        inner = getattr(self.trunk.trunk, "model", None)  # within what timm wraps around it to get features
        return inner if isinstance(inner, nn.Module) else self.trunk.trunk

    def embed(self, x: Tensor) -> Tensor:
        """Clips (N, C, T, H, W) in 0-1 -> (N, 3 D): mean, standard deviation, mean absolute change between frames."""
        frames = x.expand(-1, 3, -1, -1, -1).transpose(1, 2).flatten(0, 1)  # (N T, 3, H, W); gray is three alike
        (features,) = self.trunk(frames).values()
        return statistics(features.mean((2, 3)).unflatten(0, (len(x), -1)))

    def load_pretrained(self, weights: Path | None = None) -> None:
        """Fill in the weights of the network of pictures, from a file or from where they are known to lie.

        Raises WeightsError when they cannot be had or do not fit.
        """
        self.trunk.load_pretrained(weights)
        self.card = _card(self.card.backbone, self.trunk)
        self.say_license()


def statistics(embeddings: Tensor) -> Tensor:
    """Mean, standard deviation and mean absolute change over the frames of (N, T, D) -> (N, 3 D).

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
