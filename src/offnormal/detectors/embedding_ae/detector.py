"""Embedding autoencoder: embeddings of clips from an action recognition network, reconstructed by an autoencoder.

After E. Randellini's action_video_autoencoder (enrico310786, 2023): the classifier of a pretrained network is removed,
and an autoencoder learns to reconstruct the embeddings of normal activities; a high reconstruction error is anomalous.
Changes: a frozen network stays in evaluation mode, so that batch statistics do not drift; the reconstruction target has
no gradient, so that shrinking embeddings do not lower the loss; embeddings are standardized, so that errors have one
scale; embeddings are computed once; clips may be windows of a stream. We add other heads on the same embeddings
(centroids, Gaussian, neighbors), each also a term of the score.
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

_MIN_SPREAD = 0.01  # minimum spread of one number of the embedding, as a share of the mean spread
_SHRINK_WARNING = 0.5  # embeddings count as shrinking below this share of their first spread
_MAX_EMBEDDINGS = 50_000  # most embeddings for the heads, evenly spread over the data


class EmbeddingAE(EmbeddedDetector[EmbeddingAEOptions]):
    """A pretrained network embeds clips; embeddings unlike normal ones are anomalous.

    Score: that of the selected head. Terms: those of all heads, `ae` (mean squared error of the standardized
    embedding), `centroid`, `mahalanobis`, `knn`, and `latent` (distance to the nearest class in the autoencoder's
    latent). Higher = more anomalous. No map.
    """

    name = "embedding_ae"
    Options = EmbeddingAEOptions
    pools_map = False
    default_batch_size = 32
    default_epochs = 30  # published configs
    default_steps = STEPS
    default_schedule = "step"  # published configs, but they use fixed epochs

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
        self.spread: Tensor  # (D,) standard deviation of the training embeddings
        self.variances: Tensor  # sum of the batches' variances in an epoch, and number of batches
        self.heads = Heads(options.clusters, Neighbors(options.neighbors, options.bank, options.subsample))
        self._form = ScoringForm(scoring_form)
        self._teacher: list[VideoBackbone] = []  # embedder before fine-tuning; not in the state, as a list
        self._initial_key = ""
        self._warned = False

    @classmethod
    def adapt_options(cls, options: EmbeddingAEOptions, *, data: DataKind, longer_side: float) -> EmbeddingAEOptions:
        """One clip for a whole recording of an activity, windows for videos, single images; unless options differ."""
        return options.adapt(data)

    @classmethod
    def default_side(cls, options: EmbeddingAEOptions) -> int:
        """Side in pixels on which the embedder was trained."""
        return options.card.size[0]

    @classmethod
    def input_channels(cls, options: EmbeddingAEOptions) -> Literal[1, 3]:
        """Channels of the input, an option."""
        return options.channels

    @classmethod
    def input_multiple(cls, options: EmbeddingAEOptions) -> int:
        """Number of pixels that the input's sides must be multiples of, for the embedder."""
        return options.multiple

    @classmethod
    def clip_spec(cls, options: EmbeddingAEOptions) -> ClipSpec:
        """Windows, or the whole video; either way one score per clip."""
        return options.clip_spec

    def make_embedder(self) -> VideoBackbone:
        """Create the embedder without pretrained weights."""
        return build_embedder(self.options.embedder, in_channels=self.input.channels)

    @property
    def is_fitted(self) -> bool:
        """Whether the detector can score."""
        return self.heads.neighbors.bank is not None

    def load_pretrained(self) -> None:
        """Load the embedder's weights, unless they are to be random; WeightsError if they are unavailable."""
        if self.options.weights == "random":
            log.warning("%s has random weights: its embeddings carry little information", self.options.embedder)
        else:
            self.embedder.load_pretrained(self.options.weights)
        self.embedder.freeze(self.options.unfrozen)  # ConfigError for an unknown layer
        self.embedder.freeze()

    def cards(self) -> list[WeightCard]:
        """Card of the embedder's weights."""
        return [self.embedder.card]

    def restore_cards(self, cards: Sequence[Mapping[str, object]]) -> None:
        """Restore the card of the weights that the bundle was fitted with."""
        self.embedder.card = VideoCard.model_validate(cards[0])
        self.embedder.warn_about_license()

    # --- embedding ------------------------------------------------------------------------------------------

    @property
    def views(self) -> int:
        """Number of random views of each training clip, in addition to the clip itself."""
        return self.options.views

    @property
    def fine_tunes(self) -> bool:
        """Whether parts of the embedder are fine-tuned."""
        return self.options.unfreeze is not None

    def split_epochs(self, steps_per_epoch: int, epochs: int | None) -> tuple[int, int]:
        """Number of epochs on embeddings, and of the fine-tuning epochs after them."""
        return self.options.split_epochs(steps_per_epoch, epochs)

    def embed(self, x: Tensor) -> Tensor:
        """Pixels (N, C, H, W) or (N, C, T, H, W) in 0-1 -> embeddings (N, D) of the embedder."""
        return self._embed_with(x, self.embedder)

    def view(self, x: Tensor, seeds: Sequence[int]) -> Tensor:
        """Pixels (N, ...) in 0-1 -> a random view of each clip, the same for all its frames."""
        return clip_views.views(x, seeds)

    def embedding_key(self, view: int) -> str:
        """Hash of the embedder's name, its weights, and the ignored region; for views, also their version and seed."""
        digest = hashlib.sha256(self.options.embedder.encode())
        region = {} if self.ignored is None else {"ignored": self.ignored}
        add_tensors(digest, {**self.embedder.state_dict(), **region})
        return f"{digest.hexdigest()} {clip_views.VERSION} {self.options.seed}" if view else digest.hexdigest()

    def _embed_with(self, x: Tensor, embedder: VideoBackbone) -> Tensor:
        clips = x[:, :, None] if x.ndim == 4 else x  # (N, C, T, H, W)
        if self.ignored is not None:
            clips = torch.where(self.ignored, embedder.mean, clips)
        if torch.is_grad_enabled():
            return embedder.embed(clips)
        if embedder is self.embedder:
            embedder = self._form.get(embedder, (clips.shape[2], clips.shape[3], clips.shape[4]))
        pieces = torch.split(clips, 1) if clips.device.type == "cpu" else [clips]  # scores must not depend on the batch
        return torch.cat([embedder.embed(piece) for piece in pieces])

    def _standardize(self, embedding: Tensor) -> Tensor:
        return (embedding - self.center) / self.spread

    # --- learning -------------------------------------------------------------------------------------------

    def prepare(self, loader: Batches) -> None:
        """Compute mean and spread of the training embeddings; copy the embedder as teacher if it is fine-tuned."""
        rows, _ = self._collect_embeddings(loader)
        self.center = rows.mean(0)
        spread = rows.std(0, correction=0)
        self.spread = spread.clamp(min=_MIN_SPREAD * float(spread.mean())) if spread.any() else torch.ones_like(spread)
        self._initial_key = self.embedding_key(0)
        if self.fine_tunes:
            self._teacher = [copy.deepcopy(self.embedder)]

    def optimizers(self) -> dict[str, Optimizer]:
        """One Adam, with a separate learning rate for the fine-tuned layers."""
        groups: list[dict[str, object]] = [{"params": list(self.net.parameters())}]
        if unfrozen := self._finetuned_parameters():
            groups.append({"params": unfrozen, "lr": self.options.finetune_rate, "late": "embedder"})
        return {"autoencoder": Adam(groups, lr=self.options.learning_rate, fused=True)}

    def start_epoch(self, epoch: int, *, fine_tuning: bool) -> dict[str, float]:
        """Unfreeze or freeze the fine-tuned layers for this stage; log the trainable and all parameters."""
        finetuned = self._finetuned_parameters()
        if finetuned and fine_tuning != finetuned[0].requires_grad:
            self.embedder.freeze(self.options.unfrozen if fine_tuning else ())
        elif epoch:
            return {}
        learning = sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
        total = sum(parameter.numel() for parameter in self.parameters())
        log.info("from epoch %d: %d of %d parameters are trained", epoch + 1, learning, total)
        return {"learning_parameters": learning, "parameters": total}

    def training_step(self, x: Tensor) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Embeddings (N, D), or normal pixels, from which views are drawn -> the reconstruction error."""
        if x.ndim > 2 and self.views:
            x = clip_views.sample_views(x, self.views)
        embedding, target = self._inputs_and_targets(x)
        reconstructed, _ = self.net(embedding)
        if x.ndim > 2 and len(x) > 1:
            variance = embedding.detach().var(0).mean()
            self.variances += torch.stack([variance, torch.ones_like(variance)])
        yield "autoencoder", {"loss": F.mse_loss(reconstructed, target)}

    def validation_step(self, x: Tensor) -> dict[str, Tensor]:
        """The error on held-out normals, corrected for shrunk embeddings."""
        embedding, target = self._inputs_and_targets(x)
        error = F.mse_loss(self.net(embedding)[0], target)
        if x.ndim == 2 or not self._teacher or self.options.target == "teacher":
            return {"loss": error}
        return {"loss": error * _variance(self._teacher_embeddings(x)) / _variance(target).clamp(min=1e-12)}

    def end_epoch(self) -> dict[str, float]:
        """Spread of the embeddings in the epoch relative to the first; empty if they cannot change."""
        if not self.variances[1]:
            return {}
        spread = float(self.variances[0] / self.variances[1]) ** 0.5
        self.variances.zero_()
        if spread < _SHRINK_WARNING and not self._warned:
            self._warned = True
            log.warning(
                "the spread of normal embeddings has shrunk to %.2f of its first value, and errors shrink with it: "
                "lower --finetune-rate, unfreeze fewer layers or later, or use --target teacher",
                spread,
            )
        return {"embedding_spread": round(spread, 4)}

    def learn_heads(self, loader: Batches) -> None:
        """Learn centroids, Gaussian, and neighbors from the training samples."""
        self.embedder.freeze()
        if self.options.unfreeze is not None and self.embedding_key(0) != self._initial_key:
            changed = f"{self.embedder.card.source}, {' and '.join(self.options.unfreeze)} fine-tuned"
            self.embedder.card = self.embedder.card.model_copy(update={"source": changed})
        embeddings, actions = self._collect_embeddings(loader)
        self.heads.learn(self._standardize(embeddings), self.latent(embeddings), actions, self.options.torch_seed)

    def finish(self, loader: Batches) -> None:
        """Do nothing: distances and errors need no scaling."""

    # --- scoring --------------------------------------------------------------------------------------------

    def score_embedding(self, embedding: Tensor) -> Output:
        """Score embedded clips (N, D)."""
        x = self._standardize(embedding)
        reconstructed, latent = self.net(x)
        terms = {"ae": (reconstructed - x).square().mean(1), **self.heads(x, latent)}
        return Output(
            score=terms[self.options.head][:, None],
            map=None,
            terms={name: term[:, None] for name, term in terms.items()},
            embedding=embedding,
            latent=latent,
        )

    def latent(self, embedding: Tensor) -> Tensor:
        """Embeddings (N, D) -> latents (N, L) of the autoencoder."""
        return self.net.encode(self._standardize(embedding))

    def _inputs_and_targets(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Standardized embeddings, and the reconstruction targets, which have no gradient."""
        if x.ndim == 2:
            return (embedding := self._standardize(x)), embedding
        embedding = self._standardize(self._embed_with(x, self.embedder))
        has_teacher = self._teacher and self.options.target == "teacher"
        return embedding, self._teacher_embeddings(x) if has_teacher else embedding.detach()

    @torch.no_grad()
    def _teacher_embeddings(self, x: Tensor) -> Tensor:
        """Standardized embeddings of pixels from the embedder before fine-tuning."""
        return self._standardize(self._embed_with(x, self._teacher[0].to(x.device).eval()))

    def _collect_embeddings(self, loader: Batches) -> tuple[Tensor, list[str | None]]:
        """Embeddings (n, D) of a sample of the data, with views for pixels, and the class of each."""
        rows, actions = [], []
        with torch.no_grad():
            for number, batch in enumerate(_thin_out(loader, _MAX_EMBEDDINGS)):
                x = torch.from_numpy(batch.pixels).to(self.center.device)
                embedded = [x] if x.ndim == 2 else [self.embed(pixels) for pixels in (x, *self._draw_views(x, number))]
                rows += embedded
                actions += len(embedded) * [sample.item.class_name for sample in batch.samples]
        return torch.cat(rows), actions

    def _draw_views(self, x: Tensor, number: int) -> Iterator[Tensor]:
        for view in range(self.views):
            yield self.view(x, [zlib.crc32(f"{number} {view} {row}".encode()) for row in range(len(x))])

    def _finetuned_parameters(self) -> list[nn.Parameter]:
        """Parameters to fine-tune, each once."""
        modules = [self.embedder.network.get_submodule(name) for name in self.options.unfrozen]
        return list(dict.fromkeys(parameter for module in modules for parameter in module.parameters()))


def _thin_out(loader: Batches, limit: int) -> Iterator[Batch]:
    """Batches with about `limit` samples of a loader, evenly spread; without masks and frames."""
    every = math.ceil(len(loader) / limit)
    start = 0
    for batch in loader:
        chosen = list(range(-start % every, len(batch.samples), every))
        start += len(batch.samples)
        if chosen:
            yield Batch(batch.pixels[chosen], [batch.samples[number] for number in chosen], None)


def _variance(x: Tensor) -> Tensor:
    """Variance of rows (N, D) about their mean; for a single row about 0, the training mean."""
    return (x - x.mean(0) if len(x) > 1 else x).square().mean()
