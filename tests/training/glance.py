"""A small detector that learns from embeddings and counts the samples that it embedded."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, mse_loss

from offnormal.detectors.base import EmbeddedDetector
from offnormal.types import Output
from tests.training.tiny import TinyOptions


class Glance(EmbeddedDetector):
    """Embeds by means of pixel blocks, times a trainable number."""

    name = "glance"
    Options = TinyOptions
    pools_map = False
    default_epochs = 2

    def __init__(self, options, spec, *, views=0, stages=None):
        super().__init__(options, spec)
        self.times = nn.Parameter(torch.ones(()))
        width = spec.channels * spec.frames * 4
        self.net = nn.Linear(width, width)
        self.register_buffer("rows", None)
        self.view_count, self.stage_epochs = views, stages
        self.embedded = 0  # samples
        self.steps_over = []  # number of axes of each step's input

    views = property(lambda self: self.view_count)
    fine_tunes = property(lambda self: self.stage_epochs is not None)

    def split_epochs(self, steps_per_epoch, epochs):
        return self.stage_epochs if epochs is None else (self.stage_epochs[0], epochs - self.stage_epochs[0])

    @property
    def is_fitted(self):
        return self.rows is not None

    def embed(self, x):
        self.embedded += len(x)
        frames = x.transpose(1, 2).flatten(1, 2) if x.ndim == 5 else x
        return self.times * avg_pool2d(frames, frames.shape[-1] // 2).flatten(1)

    def view(self, x, seeds):
        return x + torch.tensor([seed % 1000 / 1000 for seed in seeds]).view(-1, *[1] * (x.ndim - 1))

    def embedding_key(self, view):
        return f"{self.times.item()} {view}"

    def _rows(self, x):
        return x if x.ndim == 2 else self.embed(x)

    def optimizers(self):
        return {"net": torch.optim.Adam(self.parameters(), lr=self.options.learning_rate)}

    def training_step(self, x):
        self.steps_over.append(x.ndim)
        embeddings = self._rows(x)
        yield "net", {"loss": mse_loss(self.net(embeddings), embeddings.detach())}

    def validation_step(self, x):
        return {"loss": mse_loss(self.net(self._rows(x)), self._rows(x))}

    def learn_heads(self, loader):
        self.rows = torch.cat([self._rows(torch.from_numpy(batch.pixels)) for batch in loader]).detach()

    def finish(self, loader):
        pass

    def score_embedding(self, embedding):
        return Output((embedding[:, None] - self.rows).square().mean(2).amin(1)[:, None], None)

    def forward(self, x):
        return self.score_embedding(self.embed(x))
