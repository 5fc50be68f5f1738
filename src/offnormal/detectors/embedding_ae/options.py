"""Options of the embedding autoencoder: embedder, clips, fine-tuning, and score."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator

from offnormal.backbones.images import deepest_layer, input_multiple
from offnormal.backbones.video.base import VideoCard
from offnormal.backbones.video.catalogue import build_embedder
from offnormal.backbones.video.frames import PREFIX
from offnormal.config.model import ADVANCED
from offnormal.detectors.base import Channels, DataKind, DetectorOptions
from offnormal.detectors.embedding_ae.heads import Subsample
from offnormal.errors import ConfigError
from offnormal.types import ClipSpec

Head = Literal["ae", "centroid", "mahalanobis", "knn"]
_BY_WINDOWS = ("clip_fps", "hop")  # options that apply only to windows
_WIDE = 512  # length of an embedding above which the first published layer has 512 numbers, not 384
STEPS = 3000  # of training on embeddings; takes seconds
_UNFROZEN_EPOCHS = 10  # published configs: 10, 12, and 20 of about 30
_UNFROZEN_STEPS = 100  # minimum, for few clips
_FROZEN_SHARE = 2 / 3  # of a training of fixed length; published configs, except SlowFast (one third)
_CAMERA_FPS = 30  # "source frames, of about 30 a second" (VideoCard.every)


class EmbeddingAEOptions(DetectorOptions):
    """Options of `embedding_ae`: the embedder, its clips, the autoencoder, and other scores of embeddings."""

    embedder: str = f"{PREFIX}efficientnet_lite0"
    """Pretrained video network: r2plus1d_18, slowfast_r50, timesformer_b, ... (see: offnormal list backbones)."""
    weights: Literal["random"] | Path | None = None
    """Weights file of the embedder, instead of the published weights; random: untrained weights, for a quick trial."""
    channels: Channels = 3
    """1: gray; 3: color."""
    sampling: Annotated[Literal["auto", "window", "uniform"], ADVANCED] = "auto"
    """window: consecutive clips, one score per frame; uniform: one clip per video; auto: by the dataset."""
    frames: Annotated[int, Field(ge=1)] | None = None
    """Frames per clip. Default: as the embedder was trained."""
    clip_fps: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Frame rate of a clip; 0: consecutive frames. Default: as the embedder was trained."""
    hop: Annotated[Annotated[int, Field(ge=1)] | None, ADVANCED] = None
    """Frames between the starts of two windows. Default: half the frames of a clip."""
    head: Head = "ae"
    """Score: reconstruction error (ae), or distance to class centroids, a Gaussian, or the nearest neighbors."""
    hidden: Annotated[Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] | None, ADVANCED] = None
    """Size of an autoencoder layer, down to the latent; repeatable. Default: 384 or 512, 256, 128."""
    dropout: Annotated[float, Field(ge=0, lt=1), ADVANCED] = 0.3
    """Dropout rate during training."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False), ADVANCED] = 1e-3
    """Learning rate of Adam."""
    views: Annotated[int, Field(ge=0), ADVANCED] = 0
    """Random augmented views of each clip to train on: shifted, recolored, blurred, with pixels dropped."""
    unfreeze: list[str] | None = None
    """Layer of the embedder to fine-tune, such as layer4.1, or all; repeatable."""
    finetune_from: Annotated[Annotated[int, Field(ge=1)] | None, ADVANCED] = None
    """First epoch of the fine-tuning stage. Default: after 3000 steps, or two thirds of --epochs or --steps."""
    finetune_epochs: Annotated[Annotated[int, Field(ge=1)] | None, ADVANCED] = None
    """Epochs of the fine-tuning stage. Default: 10, and at least 100 steps."""
    finetune_rate: Annotated[float, Field(gt=0, allow_inf_nan=False), ADVANCED] = 1e-5
    """Learning rate of the fine-tuned layers (published configs: 5e-6 to 1e-4)."""
    target: Annotated[Literal["detached", "teacher"], ADVANCED] = "detached"
    """With --unfreeze: reconstruct the current embedding (detached), or the one from before fine-tuning (teacher)."""
    clusters: Annotated[int, Field(ge=1), ADVANCED] = 8
    """Number of centroids when classes are unknown."""
    neighbors: Annotated[int, Field(ge=1), ADVANCED] = 5
    """Number of nearest neighbors whose distances are averaged."""
    bank: Annotated[int, Field(ge=1), ADVANCED] = 2000
    """Number of stored embeddings for the nearest-neighbor search."""
    subsample: Annotated[Subsample, ADVANCED] = "coreset"
    """How the stored embeddings are selected."""

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.sampling == "uniform" and (conflicts := self._join_set_names(*_BY_WINDOWS)):
            raise ValueError(f"{conflicts} with sampling=uniform: omit it, one clip covers the whole video")
        if self.unfreeze is not None and not self.unfreeze:
            raise ValueError("unfreeze is empty: name a layer, such as layer4.1, or all")
        if self.unfreeze is None and self.target == "teacher":
            raise ValueError("target=teacher without unfreeze: set unfreeze, otherwise the embedder equals its teacher")
        return self

    def _join_set_names(self, *names: str) -> str:
        return " and ".join(name for name in names if getattr(self, name) is not None)

    def adapt(self, data: DataKind) -> Self:
        """Copy with the sampling for this kind of data, and with single frames for images.

        ConfigError for fine-tuning options without --unfreeze. Not a model validator, because bundles may contain them.
        """
        if self.unfreeze is None and (conflicts := self._join_set_names("finetune_from", "finetune_epochs")):
            raise ConfigError(f"{conflicts} without unfreeze: set unfreeze to fine-tune the embedder")
        updates: dict[str, object] = {}
        if self.sampling == "auto":
            updates["sampling"] = "uniform" if data == "clips" and not self._join_set_names(*_BY_WINDOWS) else "window"
        if data == "images" and self.frames is None and self.sampling != "uniform":
            updates["frames"] = 1
        return type(self).model_validate({**self.model_dump(exclude_unset=True), **updates})

    @property
    def card(self) -> VideoCard:
        """Card of the embedder, as published."""
        return _card(self.embedder)

    def layers(self, width: int) -> list[int]:
        """Layer sizes of the autoencoder down to the latent, for embeddings of length `width`."""
        return self.hidden or [384 if width <= _WIDE else 512, 256, 128]

    @property
    def multiple(self) -> int:
        """Number of pixels that the input's sides must be multiples of."""
        network = self.embedder.removeprefix(PREFIX)
        return input_multiple(network, [deepest_layer(network)]) if network != self.embedder else 1

    @property
    def unfrozen(self) -> list[str]:
        """Names of the embedder modules to fine-tune; the empty name is the whole embedder."""
        return [""] if self.unfreeze is not None and "all" in self.unfreeze else self.unfreeze or []

    def split_epochs(self, steps_per_epoch: int, epochs: int | None) -> tuple[int, int]:
        """Epochs with a frozen embedder, and fine-tuning epochs after them.

        epochs: of the whole training; None: chosen here. ConfigError if none is left for fine-tuning, or if the options
        contradict each other.
        """
        frozen = None if self.finetune_from is None else self.finetune_from - 1
        unfrozen = self.finetune_epochs
        if epochs is None:
            frozen = math.ceil(STEPS / steps_per_epoch) if frozen is None else frozen
            return frozen, unfrozen or max(_UNFROZEN_EPOCHS, math.ceil(_UNFROZEN_STEPS / steps_per_epoch))
        if frozen is None:
            frozen = int(_FROZEN_SHARE * epochs) if unfrozen is None else epochs - unfrozen
        if frozen < 0 or frozen >= epochs or (unfrozen is not None and frozen + unfrozen != epochs):
            raise ConfigError(
                f"{self._finetune_flags} with epochs={epochs}: no epoch is left for one of the stages, or the epochs "
                "do not add up; change --epochs, or omit it"
            )
        return frozen, epochs - frozen

    @property
    def _finetune_flags(self) -> str:
        begin = None if self.finetune_from is None else f"--finetune-from {self.finetune_from}"
        length = None if self.finetune_epochs is None else f"--finetune-epochs {self.finetune_epochs}"
        return " and ".join(filter(None, (begin, length)))

    @property
    def clip_spec(self) -> ClipSpec:
        """Which frames form one clip."""
        frames = self.frames or self.card.frames
        if self.sampling == "uniform":
            return ClipSpec(frames=frames, sampling="uniform", targets=())
        hop = self.hop or max(1, frames // 2)
        if frames == 1:
            return ClipSpec(hop=hop)
        every = self.card.every
        fps = self.clip_fps if self.clip_fps is not None else _CAMERA_FPS / every if every else 0
        return ClipSpec(frames=frames, fps=fps or None, hop=hop, targets=())


@cache
def _card(embedder: str) -> VideoCard:
    with torch.device("meta"):  # without allocating weights
        return build_embedder(embedder).card
