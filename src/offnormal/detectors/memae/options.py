"""Options of MemAE: those of its paper (arXiv 1904.02639) and published code, and our additions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from offnormal.backbones.video.base import Temporal
from offnormal.config.model import ADVANCED
from offnormal.config.validation import format_validation_error
from offnormal.detectors.base import Channels, DetectorOptions
from offnormal.detectors.memae.encoder import PLAIN, validate_encoder_name
from offnormal.detectors.memae.networks import FORMS, Form, FormName, Query
from offnormal.detectors.parts.memory import Similarity
from offnormal.errors import ConfigError
from offnormal.types import ClipSpec, Pool

PUBLISHED_SHRINK = 0.0025  # published code, script_training.py
_HOP = 8  # half a clip: every frame is in two clips, except at the start and end of a video
_SMALL = 32  # side in pixels of the images for the paper's small networks


class PublishedOptions(DetectorOptions):
    """Options of the published networks: their width, the addressing of the memory, and the score."""

    form: Literal["auto", FormName] = "auto"
    """Network: video (clips), mnist or cifar (small images), image (other images); auto: by the dataset."""
    channels: Channels | None = None
    """1: gray; 3: color. Default: chosen by --form."""
    width: Annotated[Annotated[int, Field(ge=1)] | None, ADVANCED] = None
    """Channels after the first convolution; the other layers scale with it. Default: chosen by --form."""
    frames: Annotated[int, Field(ge=2)] | None = None
    """Frames per clip. Default: 16."""
    hop: Annotated[Annotated[int, Field(ge=1)] | None, ADVANCED] = None
    """Frames between the starts of two clips; overlapping scores are averaged. Default: 8, with --compat code 1."""
    memory_size: Annotated[int, Field(ge=0)] | None = None
    """Number of memory items; 0: none, a plain autoencoder. Default: chosen by --form."""
    query: Annotated[Query | None, ADVANCED] = None
    """What addresses the memory: each position of the code, or the whole code. Default: chosen by --form."""
    similarity: Annotated[Similarity, ADVANCED] = "dot"
    """Similarity of query and item: dot product (published code) or cosine (paper)."""
    shrink: Annotated[Annotated[float, Field(ge=0, lt=1)] | None, ADVANCED] = None
    """Addressing weights up to this value are set to 0. Default: --sparsity divided by the memory size."""
    sparsity: Annotated[float, Field(ge=0, allow_inf_nan=False), ADVANCED] = 1.0
    """Shrinkage threshold in multiples of the mean weight; 1 to 3 in the paper."""
    entropy_weight: Annotated[float, Field(ge=0, allow_inf_nan=False), ADVANCED] = 2e-4
    """Weight of the entropy loss, which keeps addressing sparse."""
    learning_rate: Annotated[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, ADVANCED] = None
    """Learning rate of Adam. Default: chosen by --form."""
    compat: Annotated[Literal["paper", "code"], ADVANCED] = "paper"
    """paper: squared error of each frame; code: mean absolute error of the clip, as in the published script."""
    pool: Annotated[Pool, ADVANCED] = "mean"
    """Frame score from its map: mean (paper), max, or top (mean of the highest values)."""
    top_share: Annotated[float, Field(gt=0, le=1), ADVANCED] = 0.05
    """With --pool top: share of the pixels that are averaged."""
    sigma: Annotated[Annotated[float, Field(ge=0, allow_inf_nan=False)] | None, ADVANCED] = None
    """Blur of the anomaly map, in input pixels. Default: 1/64 of the shorter side."""

    @model_validator(mode="after")
    def _check_form(self) -> Self:
        conflicts = [name for name in ("frames", "hop") if getattr(self, name) is not None]
        if self.form not in ("auto", "video") and conflicts:
            raise ValueError(f"{' and '.join(conflicts)} with form={self.form}: only form=video takes clips")
        if self.query == "whole" and self.form == "video":
            raise ValueError("query=whole with form=video: expected query=position for clips")
        return self

    @property
    def network(self) -> Form:
        """The form; the video form if it is not chosen yet."""
        return FORMS["video" if self.form == "auto" else self.form]

    @property
    def items(self) -> int:
        """Number of memory items."""
        return self.network.memory if self.memory_size is None else self.memory_size

    @property
    def threshold(self) -> float:
        """Weights up to this value are set to 0."""
        return self.shrink if self.shrink is not None else min(self.sparsity / max(1, self.items), 1.0)

    @property
    def input_channels(self) -> Literal[1, 3]:
        """Channels of the input: 1 gray, 3 RGB."""
        return self.channels or self.network.channels

    @property
    def clip_spec(self) -> ClipSpec:
        """Which frames form one clip; a single frame for images."""
        frames = self.frames or self.network.frames
        if frames == 1:
            return ClipSpec()
        hop = self.hop or (1 if self.compat == "code" else _HOP)
        targets = (frames // 2,) if self.compat == "code" else tuple(range(frames))
        return ClipSpec(frames=frames, hop=hop, targets=targets)


class MemAEOptions(PublishedOptions):
    """Options of `memae`: the networks, the addressing of the memory, and the score."""

    encoder: str = PLAIN
    """Encoder of clips: plain (published code), or a network such as slowonly_r18 (see: offnormal list backbones)."""
    temporal: Annotated[Temporal, ADVANCED] = "mixed"
    """Temporal downsampling of that network: mixed, published, or stem8 (one frame of eight)."""
    weights: Literal["published"] | Path | None = None
    """Weights file of that network, or published to download them. Default: random weights."""
    freeze_encoder: bool = False
    """Keep the weights of that network fixed."""

    @field_validator("encoder")
    @classmethod
    def _check_encoder_name(cls, name: str) -> str:
        validate_encoder_name(name)
        return name

    @model_validator(mode="after")
    def _check_encoder_options(self) -> Self:
        if self.encoder == PLAIN:
            settings = {
                "temporal": self.temporal != "mixed",
                "weights": self.weights,
                "freeze_encoder": self.freeze_encoder,
            }
            if conflicts := [name for name, value in settings.items() if value]:
                raise ValueError(
                    f"{' and '.join(conflicts)} with encoder=plain: choose another encoder, such as slowonly_r18"
                )
        elif self.form not in ("auto", "video"):
            raise ValueError(f"encoder={self.encoder} with form={self.form}: only form=video takes clips")
        elif self.width is not None:
            raise ValueError(f"width with encoder={self.encoder}: omit it, only encoder=plain has this option")
        return self

    def adapt(self, *, videos: bool, longer_side: float) -> Self:
        """Copy with a form chosen for videos, or for images whose longer side has about `longer_side` pixels."""
        if self.form != "auto":
            return self
        small: FormName = "mnist" if self.channels == 1 else "cifar"
        form: FormName = "video" if videos else small if longer_side <= _SMALL else "image"
        try:
            return type(self).model_validate({**self.model_dump(exclude_unset=True), "form": form})
        except ValidationError as error:
            raise ConfigError(format_validation_error(error, type(self))) from None
