"""A small detector that scores whole clips by how colors change, registered only by tests."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from offnormal.detectors.base import DetectorOptions, TrainedDetector
from offnormal.types import ClipSpec, Output

_GRID, _CODE = 4, 6


class MovesOptions(DetectorOptions):
    learning_rate: float = 1e-2


class Moves(TrainedDetector):
    """An autoencoder of the mean and spread over time of frame differences, on a coarse grid."""

    name = "moves"
    Options = MovesOptions
    default_size = 32
    pools_map = False
    default_batch_size = 8
    default_epochs = 30

    def __init__(self, options, spec):
        super().__init__(options, spec)
        size = 2 * _GRID * _GRID
        self.encoder, self.decoder = nn.Linear(size, _CODE), nn.Linear(_CODE, size)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    @classmethod
    def clip_spec(cls, options):
        return ClipSpec(frames=8, sampling="uniform", targets=())

    @property
    def is_fitted(self):
        return bool(self.fitted)

    def embed(self, x):  # (N, C, T, H, W) -> (N, D)
        differences = (x[:, :, 1:] - x[:, :, :-1]).abs().mean(1)  # (N, T - 1, H, W)
        differences = adaptive_avg_pool2d(differences, _GRID)
        return torch.cat([differences.mean(1).flatten(1), differences.std(1).flatten(1)], 1)

    def _coded(self, x):
        embedding = (self.embed(x) - self.mean) / self.spread
        latent = torch.tanh(self.encoder(embedding))
        return embedding, latent, (self.decoder(latent) - embedding).square().mean(1, keepdim=True)

    def forward(self, x):
        self.require_fitted()
        embedding, latent, error = self._coded(x)
        return Output(error, None, {"error": error}, embedding=embedding, latent=latent)

    def optimizers(self):
        return {"moves": torch.optim.Adam(self.parameters(), lr=self.options.learning_rate)}

    def prepare(self, loader):
        embeddings = torch.cat([self.embed(torch.from_numpy(batch.pixels).to(self.mean.device)) for batch in loader])
        self.mean.copy_(embeddings.mean(0))
        self.spread.copy_(embeddings.std(0).clamp(min=1e-6))

    def training_step(self, x):
        yield "moves", {"loss": self._coded(x)[2].mean()}

    def validation_step(self, x):
        return {"loss": self._coded(x)[2].mean()}

    def finish(self, loader):
        self.fitted.fill_(True)
