"""Two small trained detectors, registered only by tests."""

from __future__ import annotations

import time

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import mse_loss

from offnormal.detectors.base import DetectorOptions, TrainedDetector
from offnormal.types import Output


class TinyOptions(DetectorOptions):
    learning_rate: float = Field(default=1e-2, gt=0)
    slow_s: float = 0.0
    """Minimum duration of a step in seconds."""
    nan_at: int | None = None
    """Step with a loss of nan."""


class Plain(TrainedDetector):
    """Reconstructs with one hidden layer; its loss uses a running mean of the pixels, which is stored in a buffer."""

    name = "plain"
    Options = TinyOptions
    default_size = 16
    pools_map = False
    default_batch_size = 8
    default_epochs = 5

    def __init__(self, options, spec):
        super().__init__(options, spec)
        channels = spec.channels * spec.frames
        self.hidden = nn.Conv2d(channels, 4, 3, padding=1)
        self.out = nn.Conv2d(4, channels, 3, padding=1)
        self.unused = nn.Parameter(torch.ones(3))  # does not learn: no loss depends on it
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scale", torch.zeros(()))  # of the scores, from held-out normals

    @property
    def is_fitted(self):
        return bool(self.scale > 0)

    def _flat(self, x):
        return x.flatten(1, 2) if x.ndim == 5 else x

    def _restored(self, x):
        return self.out(torch.tanh(self.hidden(x - self.mean[:, None, None]))) + self.mean[:, None, None]

    def forward(self, x):
        self.require_fitted()
        x = self._flat(x)
        error = (self._restored(x) - x).abs().mean(1, keepdim=True)  # (N, 1, H, W)
        return Output(error.mean((2, 3)) / self.scale, error / self.scale)

    def optimizers(self):
        return {"plain": torch.optim.Adam(self.parameters(), lr=self.options.learning_rate)}

    def training_step(self, x):
        time.sleep(self.options.slow_s)
        x = self._flat(x)
        with torch.no_grad():
            self.steps += 1
            self.mean += 0.1 * (x.mean((0, 2, 3)) - self.mean)
        loss = mse_loss(self._restored(x), x)
        if self.options.nan_at is not None and int(self.steps) == self.options.nan_at:
            loss = loss * torch.nan
        yield "plain", {"loss": loss, "bias": self.out.bias.abs().mean()}

    def validation_step(self, x):
        x = self._flat(x)
        return {"loss": mse_loss(self._restored(x), x)}

    def finish(self, loader):
        flat = [self._flat(torch.from_numpy(batch.pixels)) for batch in loader]
        error = [(self._restored(rows) - rows).abs().mean() for rows in flat]
        self.scale = torch.stack(error).mean()


class Pair(Plain):
    """Two optimizers with a shared graph, batch normalization, and noise during training."""

    name = "pair"

    def __init__(self, options, spec):
        super().__init__(options, spec)
        self.norm = nn.BatchNorm2d(4)
        self.judge = nn.Sequential(nn.Conv2d(spec.channels * spec.frames, 2, 3, 2), nn.BatchNorm2d(2), nn.Flatten(1))

    def _restored(self, x):
        return self.out(torch.relu(self.norm(self.hidden(x))))

    def optimizers(self):
        rate = self.options.learning_rate
        maker = [*self.hidden.parameters(), *self.norm.parameters(), *self.out.parameters(), self.unused]
        return {
            "maker": torch.optim.Adam(maker, lr=rate, betas=(0.5, 0.999)),
            "judge": torch.optim.SGD(self.judge.parameters(), lr=rate, momentum=0.9),
        }

    def training_step(self, x):
        time.sleep(self.options.slow_s)
        x = self._flat(x)
        self.steps += 1
        reconstruction = self._restored(x + 0.01 * torch.randn_like(x))
        real, fake = self.judge(x), self.judge(reconstruction)
        content = mse_loss(reconstruction, x)
        yield "maker", {"loss": content + 0.1 * mse_loss(fake, real.detach()), "content": content}
        # the graph of `fake` was already used, and the maker has been stepped since; only the judge learns here
        yield "judge", {"loss": (fake - 1).square().mean() + real.square().mean()}
