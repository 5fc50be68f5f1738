"""The autoencoder of embeddings: layers as in enrico310786/action_video_autoencoder (src/models.py), of any size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

_DROPOUT = 0.3  # published code


class EmbeddingAutoencoder(nn.Module):
    """Reconstructs vectors through a small latent.

    Batch normalization, then linear layers with ReLU down to the latent and, mirrored, up again; dropout after every
    ReLU except the latent's; no activation after the last layer.
    """

    def __init__(self, width: int, hidden: Sequence[int], dropout: float = _DROPOUT) -> None:
        """width: length of the vectors; hidden: sizes of the layers down to the latent."""
        super().__init__()
        self.normalization = nn.BatchNorm1d(width)
        self.encoder = _linear_stack((width, *hidden), dropout, last=[nn.ReLU()])
        self.decoder = _linear_stack((*reversed(hidden), width), dropout, last=[])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (N, D) -> reconstructions (N, D) and latents (N, L)."""
        latent = self.encode(x)
        return self.decoder(latent), latent

    def encode(self, x: Tensor) -> Tensor:
        """Vectors (N, D) -> latents (N, L)."""
        latent: Tensor = self.encoder(self.normalization(x))
        return latent


def _linear_stack(sizes: Sequence[int], dropout: float, *, last: Sequence[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(sizes), 1):
        layers.append(nn.Linear(before, after))
        layers += last if number == len(sizes) - 1 else [nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)
