"""Embedding autoencoder: clips as a network for action recognition sees them, rebuilt by a small autoencoder.

After E. Randellini's action_video_autoencoder (enrico310786, 2023): the classifier of a pretrained network is left out,
an autoencoder learns to rebuild the embeddings of allowed activities, and what it cannot rebuild is off normal.
Without its defects: a frozen network stays in evaluation mode, so that batch statistics do not drift; what is to be
rebuilt never learns, so that nothing is won by embeddings that shrink; embeddings are standardized, so that errors are
of one scale; they are computed once, and clips may be windows of a stream. Ours, too, are the other heads on the same
embeddings: centroids, Gaussian and neighbors, each a term of the score whichever is chosen.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from offnormal.backbones.base import WeightCard
from offnormal.backbones.folding import ScoringForm
from offnormal.backbones.video.base import VideoBackbone, VideoCard
from offnormal.backbones.video.catalogue import build_embedder
from offnormal.backbones.video.inference import scoring_form
from offnormal.data.batches import Batch, Batches
from offnormal.detectors.base import DataKind, EmbeddedDetector
from offnormal.detectors.embedding_ae.heads import Heads, Neighbors
from offnormal.detectors.embedding_ae.networks import EmbeddingAutoencoder
from offnormal.detectors.embedding_ae.options import STEPS, EmbeddingAEOptions
from offnormal.detectors.parts import clip_views
from offnormal.tensors import add_tensors
from offnormal.types import ClipSpec, InputSpec, Output

log = logging.getLogger(__name__)

_LEAST = 0.01  # of the mean spread: what a number of the embedding that hardly differs is taken to differ by
_SHRUNK = 0.5  # share of their first spread from which on embeddings count as shrinking
_MOST = 50_000  # embeddings, evenly spread, that the heads learn from


class EmbeddingAE(EmbeddedDetector[EmbeddingAEOptions]):
    """A pretrained network embeds clips; embeddings that are not like normal ones are anomalous.

    Score: that of the head. Terms: those of all heads, `ae` (mean squared error of the standardized embedding),
    `centroid`, `mahalanobis`, `knn`, and `latent` (distance to the nearest class in the autoencoder's latent). Higher =
    more anomalous. No map.
    """

    name = "embedding_ae"
    Options = EmbeddingAEOptions
    pools_map = False
    default_batch_size = 32
    default_epochs = 30  # published configs
    default_steps = STEPS
    default_schedule = "step"  # published configs, though at fixed epochs

    def __init__(self, options: EmbeddingAEOptions, spec: InputSpec) -> None:
        super().__init__(options, spec)
        with torch.random.fork_rng([]):
            torch.manual_seed(options.torch_seed)
            self.embedder = self.make_embedder()
            width = self.embedder.card.embedding
            self.net = EmbeddingAutoencoder(width, options.layers(width), options.dropout)
        self.embedder.freeze()
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("variances", torch.zeros(2))
        self.center: Tensor  # (D,) mean of the training embeddings
        self.spread: Tensor  # (D,) and their standard deviation
        self.variances: Tensor  # sum over the batches of an epoch of how embeddings vary in each, and number of batches
        self.heads = Heads(options.clusters, Neighbors(options.neighbors, options.bank, options.subsample))
        self._form = ScoringForm(scoring_form)
        self._teacher: list[VideoBackbone] = []  # in no state: it is the embedder as it was loaded
        self._as_loaded = ""
        self._warned = False

    @classmethod
    def adapt_options(cls, options: EmbeddingAEOptions, *, data: DataKind, shown: float) -> EmbeddingAEOptions:
        """Clips of activities as wholes, videos by windows, pictures one at a time, unless options differ."""
        return options.decided(data)

    @classmethod
    def default_side(cls, options: EmbeddingAEOptions) -> int:
        """As the embedder was trained."""
        return options.card.size[0]

    @classmethod
    def input_channels(cls, options: EmbeddingAEOptions) -> Literal[1, 3]:
        """As the options say."""
        return options.channels

    @classmethod
    def input_multiple(cls, options: EmbeddingAEOptions) -> int:
        """As the embedder needs it."""
        return options.multiple

    @classmethod
    def clip_spec(cls, options: EmbeddingAEOptions) -> ClipSpec:
        """Windows, or the whole video; scored as a whole either way."""
        return options.clip_spec

    def make_embedder(self) -> VideoBackbone:
        """The network that the options name, without pretrained weights."""
        return build_embedder(self.options.embedder, in_channels=self.input.channels)

    @property
    def is_fitted(self) -> bool:
        """Whether scores can be asked for."""
        return self.heads.neighbors.kept is not None

    def load_pretrained(self) -> None:
        """Fill in the embedder's weights, unless they are to be random; WeightsError when they cannot be had."""
        if self.options.weights == "random":
            log.warning("%s has random weights: its embeddings say little", self.options.embedder)
        else:
            self.embedder.load_pretrained(self.options.weights)
        self.embedder.freeze(self.options.unfrozen)  # ConfigError for a part that it has not
        self.embedder.freeze()

    def cards(self) -> list[WeightCard]:
        """The card of the embedder's weights."""
        return [self.embedder.card]

    def restore_cards(self, cards: Sequence[Mapping[str, object]]) -> None:
        """Take the card of the weights that the bundle was fitted with."""
        self.embedder.card = VideoCard.model_validate(cards[0])

    # --- embedding ------------------------------------------------------------------------------------------

    @property
    def views(self) -> int:
        """Of each training clip besides itself."""
        return self.options.views

    @property
    def learns_late(self) -> bool:
        """Whether parts of the embedder are to learn."""
        return self.options.unfreeze is not None

    def stages(self, steps_per_epoch: int, epochs: int | None) -> tuple[int, int]:
        """As the options say."""
        return self.options.stages(steps_per_epoch, epochs)

    def embed(self, x: Tensor) -> Tensor:
        """Pixels (N, C, H, W) or (N, C, T, H, W) in 0-1 -> embeddings (N, D) as the embedder gives them."""
        return self._embedded(x, self.embedder)

    def view(self, x: Tensor, seeds: Sequence[int]) -> Tensor:
        """Pixels (N, ...) in 0-1 -> a random view of each clip, the same for all of its frames."""
        return clip_views.views(x, seeds)

    def embedding_key(self, view: int) -> str:
        """The embedder's name and numbers, what is ignored, and of views what makes them."""
        digest = hashlib.sha256(self.options.embedder.encode())
        region = {} if self.ignored is None else {"ignored": self.ignored}
        add_tensors(digest, {**self.embedder.state_dict(), **region})
        return f"{digest.hexdigest()} {clip_views.VERSION} {self.options.seed}" if view else digest.hexdigest()

    def _embedded(self, x: Tensor, embedder: VideoBackbone) -> Tensor:
        clips = x[:, :, None] if x.ndim == 4 else x  # (N, C, T, H, W)
        if self.ignored is not None:
            clips = torch.where(self.ignored, embedder.mean, clips)
        if torch.is_grad_enabled():
            return embedder.embed(clips)
        if embedder is self.embedder:
            embedder = self._form.get(embedder, (clips.shape[2], clips.shape[3], clips.shape[4]))
        pieces = torch.split(clips, 1) if clips.device.type == "cpu" else [clips]  # no number depends on the batch
        return torch.cat([embedder.embed(piece) for piece in pieces])

    def _standardized(self, embedding: Tensor) -> Tensor:
        return (embedding - self.center) / self.spread

    # --- learning -------------------------------------------------------------------------------------------

    def prepare(self, loader: Batches) -> None:
        """Learn mean and spread of the training embeddings; keep the embedder as it is, where that is the target."""
        rows, _ = self._rows(loader)
        self.center = rows.mean(0)
        spread = rows.std(0, correction=0)
        self.spread = spread.clamp(min=_LEAST * float(spread.mean())) if spread.any() else torch.ones_like(spread)
        self._as_loaded = self.embedding_key(0)
        if self.learns_late:
            self._teacher = [copy.deepcopy(self.embedder)]

    def optimizers(self) -> dict[str, Optimizer]:
        """One Adam, with a rate of its own for what learns of the embedder."""
        groups: list[dict[str, object]] = [{"params": list(self.net.parameters())}]
        if unfrozen := self._unfrozen():
            groups.append({"params": unfrozen, "lr": self.options.finetune_rate, "late": "embedder"})
        return {"autoencoder": Adam(groups, lr=self.options.learning_rate, fused=True)}

    def epoch_begins(self, epoch: int, *, late: bool) -> dict[str, float]:
        """Parameters that learn from then on, and all; parts of the embedder join in when their time has come."""
        parts = self._unfrozen()
        if parts and late != parts[0].requires_grad:
            self.embedder.freeze(self.options.unfrozen if late else ())
        elif epoch:
            return {}
        learning = sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
        total = sum(parameter.numel() for parameter in self.parameters())
        log.info("from epoch %d on %d of %d parameters learn", epoch + 1, learning, total)
        return {"learning_parameters": learning, "parameters": total}

    def training_step(self, x: Tensor) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Embeddings (N, D), or normal pixels, of which then a view is taken -> the error of what is rebuilt."""
        if x.ndim > 2 and self.views:
            x = clip_views.some_views(x, self.views)
        embedding, target = self._both(x)
        rebuilt, _ = self.net(embedding)
        if x.ndim > 2 and len(x) > 1:
            variance = embedding.detach().var(0).mean()
            self.variances += torch.stack([variance, torch.ones_like(variance)])
        yield "autoencoder", {"loss": F.mse_loss(rebuilt, target)}

    def validation_step(self, x: Tensor) -> dict[str, Tensor]:
        """The error for normals kept back; if their embeddings have shrunk, as if these varied as they did at first."""
        embedding, target = self._both(x)
        error = F.mse_loss(self.net(embedding)[0], target)
        if x.ndim == 2 or not self._teacher or self.options.target == "teacher":
            return {"loss": error}
        return {"loss": error * _varies(self._taught(x)) / _varies(target).clamp(min=1e-12)}

    def epoch_ended(self) -> dict[str, float]:
        """How far embeddings differed in the epoch, 1 being as they did at first; only where they can change."""
        if not self.variances[1]:
            return {}
        spread = float(self.variances[0] / self.variances[1]) ** 0.5
        self.variances.zero_()
        if spread < _SHRUNK and not self._warned:
            self._warned = True
            log.warning(
                "the embeddings of normal clips differ by %.2f of what they did at first: they shrink, and errors "
                "with them. Lower --finetune-rate, unfreeze less or later, or give --target teacher",
                spread,
            )
        return {"embedding_spread": round(spread, 4)}

    def learn_heads(self, loader: Batches) -> None:
        """Learn centroids, Gaussian and neighbors from the training samples."""
        self.embedder.freeze()
        if self.options.unfreeze is not None and self.embedding_key(0) != self._as_loaded:
            changed = f"{self.embedder.card.source}, {' and '.join(self.options.unfreeze)} trained further"
            self.embedder.card = self.embedder.card.model_copy(update={"source": changed})
        embeddings, actions = self._rows(loader)
        self.heads.learn(self._standardized(embeddings), self.latent(embeddings), actions, self.options.torch_seed)

    def finish(self, loader: Batches) -> None:
        """Nothing: distances and errors stand as they are."""

    # --- scoring --------------------------------------------------------------------------------------------

    def score_embedding(self, embedding: Tensor) -> Output:
        """Output for embedded clips (N, D)."""
        x = self._standardized(embedding)
        rebuilt, latent = self.net(x)
        terms = {"ae": (rebuilt - x).square().mean(1), **self.heads(x, latent)}
        return Output(
            score=terms[self.options.head][:, None],
            map=None,
            terms={name: term[:, None] for name, term in terms.items()},
            embedding=embedding,
            latent=latent,
        )

    def latent(self, embedding: Tensor) -> Tensor:
        """Embeddings (N, D) -> what the autoencoder makes of them in its middle (N, L)."""
        return self.net.encode(self._standardized(embedding))

    def _both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Standardized embeddings and what is to be made of them, which never learns."""
        if x.ndim == 2:
            return (known := self._standardized(x)), known
        embedding = self._standardized(self._embedded(x, self.embedder))
        taught = self._teacher and self.options.target == "teacher"
        return embedding, self._taught(x) if taught else embedding.detach()

    @torch.no_grad()
    def _taught(self, x: Tensor) -> Tensor:
        """Standardized embeddings of pixels by the embedder as it was before it learned."""
        return self._standardized(self._embedded(x, self._teacher[0].to(x.device).eval()))

    def _rows(self, loader: Batches) -> tuple[Tensor, list[str | None]]:
        """Embeddings (n, D) of samples, or of pixels and their views, and the classes of all; of many only some."""
        rows, actions = [], []
        with torch.no_grad():
            for number, batch in enumerate(_thin_out(loader, _MOST)):
                x = torch.from_numpy(batch.pixels).to(self.center.device)
                found = [x] if x.ndim == 2 else [self.embed(seen) for seen in (x, *self._views_of(x, number))]
                rows += found
                actions += len(found) * [sample.item.class_name for sample in batch.samples]
        return torch.cat(rows), actions

    def _views_of(self, x: Tensor, number: int) -> Iterator[Tensor]:
        for view in range(self.views):
            yield self.view(x, [zlib.crc32(f"{number} {view} {place}".encode()) for place in range(len(x))])

    def _unfrozen(self) -> list[nn.Parameter]:
        """What learns of the embedder when its time has come, each once."""
        parts = [self.embedder.network.get_submodule(name) for name in self.options.unfrozen]
        return list(dict.fromkeys(parameter for part in parts for parameter in part.parameters()))


def _thin_out(loader: Batches, most: int) -> Iterator[Batch]:
    """Batches of at most about so many samples of a loader, evenly spread over all; without masks and frames."""
    every = math.ceil(len(loader) / most)
    start = 0
    for batch in loader:
        chosen = list(range(-start % every, len(batch.samples), every))
        start += len(batch.samples)
        if chosen:
            yield Batch(batch.pixels[chosen], [batch.samples[number] for number in chosen], None)


def _varies(x: Tensor) -> Tensor:
    """How much rows (N, D) vary: about their mean, a single one about that of training."""
    return (x - x.mean(0) if len(x) > 1 else x).square().mean()
