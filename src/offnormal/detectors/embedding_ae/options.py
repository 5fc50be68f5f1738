"""Options of the embedding autoencoder: which network embeds which clips, what learns, and what is the score."""

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
_BY_WINDOWS = ("clip_fps", "hop")  # options that only windows have
_WIDE = 512  # numbers of an embedding above which the published layers begin with 512, not 384
STEPS = 3000  # of a training on embeddings, whatever their number: seconds
_UNFROZEN_EPOCHS = 10  # published configs: 10, 12 and 20 of about 30
_UNFROZEN_STEPS = 100  # at least, where clips are few
_FROZEN_SHARE = 2 / 3  # of a training whose length is given; published configs, but for SlowFast's third
_CAMERA_FPS = 30  # "source frames, of about 30 a second" (VideoCard.every)


class EmbeddingAEOptions(DetectorOptions):
    """Options of `embedding_ae`: the embedder, its clips, the autoencoder, and other scores of embeddings."""

    embedder: str = f"{PREFIX}efficientnet_lite0"
    """Pretrained video network: r2plus1d_18, slowfast_r50, timesformer_b, ... (see: offnormal list backbones)."""
    weights: Literal["random"] | Path | None = None
    """Weights file of the embedder, instead of the published weights; random: untrained, to try things out."""
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
    """Score: reconstruction error (ae), or distance to class centroids, to a Gaussian, or to nearest neighbors."""
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
    """With --unfreeze: reconstruct the current embedding (detached), or that before fine-tuning (teacher)."""
    clusters: Annotated[int, Field(ge=1), ADVANCED] = 8
    """Number of centroids when classes are unknown."""
    neighbors: Annotated[int, Field(ge=1), ADVANCED] = 5
    """Number of nearest neighbors whose distances are averaged."""
    bank: Annotated[int, Field(ge=1), ADVANCED] = 2000
    """Number of stored embeddings for the nearest-neighbor search."""
    subsample: Annotated[Subsample, ADVANCED] = "coreset"
    """Selection of the stored embeddings: coreset, or random."""

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.sampling == "uniform" and (given := self._given(*_BY_WINDOWS)):
            raise ValueError(f"{given} with sampling=uniform: one clip is spread over the whole video")
        if self.unfreeze is not None and not self.unfreeze:
            raise ValueError("unfreeze without a part: name some, such as layer4.1, or all")
        if self.unfreeze is None and self.target == "teacher":
            raise ValueError("target=teacher without unfreeze: the embedder never differs from its teacher")
        return self

    def _given(self, *names: str) -> str:
        return " and ".join(name for name in names if getattr(self, name) is not None)

    def decided(self, of: DataKind) -> Self:
        """The same with the sampling that suits the data, and of pictures one at a time.

        ConfigError for options that say when the embedder learns where it does not; bundles may hold them.
        """
        if self.unfreeze is None and (given := self._given("finetune_from", "finetune_epochs")):
            raise ConfigError(f"{given} without unfreeze: nothing of the embedder learns")
        found: dict[str, object] = {}
        if self.sampling == "auto":
            found["sampling"] = "uniform" if of == "clips" and not self._given(*_BY_WINDOWS) else "window"
        if of == "images" and self.frames is None and self.sampling != "uniform":
            found["frames"] = 1
        return type(self).model_validate({**self.model_dump(exclude_unset=True), **found})

    @property
    def card(self) -> VideoCard:
        """Of the embedder, as published."""
        return _card(self.embedder)

    def layers(self, width: int) -> list[int]:
        """Sizes of the autoencoder's layers down to its latent, for embeddings of so many numbers."""
        return self.hidden or [384 if width <= _WIDE else 512, 256, 128]

    @property
    def multiple(self) -> int:
        """Sides of the input are multiples of this many pixels."""
        network = self.embedder.removeprefix(PREFIX)
        return input_multiple(network, [deepest_layer(network)]) if network != self.embedder else 1

    @property
    def unfrozen(self) -> list[str]:
        """Names of the embedder's modules that learn; its own is empty."""
        return [""] if self.unfreeze is not None and "all" in self.unfreeze else self.unfreeze or []

    def stages(self, steps_per_epoch: int, epochs: int | None) -> tuple[int, int]:
        """Epochs in which the embedder is frozen, and then not, of a training of so many or as many as suit.

        ConfigError when it would never learn, or both are given and come to another number.
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
                f"{self._asked} make no training of {epochs} epoch(s) of which the last ones are the embedder's: give "
                "another length, or leave it out and have one that suits"
            )
        return frozen, epochs - frozen

    @property
    def _asked(self) -> str:
        begin = None if self.finetune_from is None else f"--finetune-from {self.finetune_from}"
        length = None if self.finetune_epochs is None else f"--finetune-epochs {self.finetune_epochs}"
        return " and ".join(filter(None, (begin, length)))

    @property
    def clip_spec(self) -> ClipSpec:
        """Which frames are taken together."""
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
    with torch.device("meta"):  # without numbers
        return build_embedder(embedder).card
