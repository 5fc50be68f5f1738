"""Options of MemAE: those of its paper (arXiv 1904.02639) and published code, and what this version adds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from offnormal.backbones.video.base import Temporal
from offnormal.config.validation import format_validation_error
from offnormal.detectors.base import Channels, DetectorOptions
from offnormal.detectors.memae.encoder import PLAIN, refuse_other_names
from offnormal.detectors.memae.networks import FORMS, Form, FormName, Query
from offnormal.detectors.parts.memory import Similarity
from offnormal.errors import ConfigError
from offnormal.types import ClipSpec, Pool

PUBLISHED_SHRINK = 0.0025  # published code, script_training.py
_HOP = 8  # half a clip: every frame but the first and last ones lies in two
_SMALL = 32  # pixels a side of the pictures that the paper's small networks are for


class PublishedOptions(DetectorOptions):
    """Of the published networks: how wide they are, how the memory is addressed, and what counts as the score."""

    form: Literal["auto", FormName] = "auto"
    """video: clips (published code); mnist, cifar: small pictures (paper); image: other pictures; auto: as data are."""
    channels: Channels | None = None
    """1: grey; 3: colour. Default: the form's."""
    width: Annotated[int, Field(ge=1)] | None = None
    """Channels after the first convolution, the others in proportion; default: the form's."""
    frames: Annotated[int, Field(ge=2)] | None = None
    """Of a clip; default 16."""
    hop: Annotated[int, Field(ge=1)] | None = None
    """Frames from one clip to the next, where they overlap scores are averaged; default 8, with compat=code 1."""
    memory: Annotated[int, Field(ge=0)] | None = None
    """Items; 0: none, a plain autoencoder. Default: the form's."""
    query: Query | None = None
    """What recalls from memory: each position of the code, or the code as a whole; default: the form's."""
    similarity: Similarity = "dot"
    """Of query and item: dot: product (published code); cosine (paper)."""
    shrink: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Weights of items up to it are cut; default: sparsity / memory."""
    sparsity: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Weights are cut up to so many times their mean: 1 to 3 (paper)."""
    entropy_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2e-4
    """Of the loss that keeps the weights sparse."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Of Adam; default: the form's."""
    compat: Literal["paper", "code"] = "paper"
    """paper: squared error of each frame; code: mean absolute error of the clip, as the published script has it."""
    pool: Pool = "mean"
    """Score of a frame's map: its mean (paper), max, or top: the mean of its highest values."""
    top_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    """With pool=top: share of the pixels that are averaged."""
    sigma: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Blur of the anomaly map in input pixels; default: a 64th of the shorter side."""

    @model_validator(mode="after")
    def _only_of_clips(self) -> Self:
        given = [name for name in ("frames", "hop") if getattr(self, name) is not None]
        if self.form not in ("auto", "video") and given:
            raise ValueError(f"{' and '.join(given)} with form={self.form}: only the form video takes clips")
        if self.query == "whole" and self.form == "video":
            raise ValueError("query=whole with form=video: a clip is recalled position by position")
        return self

    @property
    def network(self) -> Form:
        """The form, that of videos where it is not decided yet."""
        return FORMS["video" if self.form == "auto" else self.form]

    @property
    def items(self) -> int:
        """In the memory."""
        return self.network.memory if self.memory is None else self.memory

    @property
    def threshold(self) -> float:
        """Weights up to it are cut."""
        return self.shrink if self.shrink is not None else min(self.sparsity / max(1, self.items), 1.0)

    @property
    def input_channels(self) -> Literal[1, 3]:
        """1 grey, 3 RGB."""
        return self.channels or self.network.channels

    @property
    def clip_spec(self) -> ClipSpec:
        """Which frames are taken together; one for pictures."""
        frames = self.frames or self.network.frames
        if frames == 1:
            return ClipSpec()
        hop = self.hop or (1 if self.compat == "code" else _HOP)
        targets = (frames // 2,) if self.compat == "code" else tuple(range(frames))
        return ClipSpec(frames=frames, hop=hop, targets=targets)


class MemAEOptions(PublishedOptions):
    """The networks, how the memory is addressed, and what counts as the score."""

    encoder: str = PLAIN
    """Of clips: plain (published code), or a network such as slowonly_r18 or csn_r50 (offnormal list backbones)."""
    temporal: Temporal = "mixed"
    """How that network shortens time: mixed, published (as it was trained), or stem8: it sees one frame of eight."""
    weights: Literal["published"] | Path | None = None
    """File with that network's weights, or published: those that can be downloaded; default: random ones."""
    freeze_encoder: bool = False
    """Whether that network keeps its weights and does not learn."""

    @field_validator("encoder")
    @classmethod
    def _is_known(cls, name: str) -> str:
        refuse_other_names(name)
        return name

    @model_validator(mode="after")
    def _suits_the_encoder(self) -> Self:
        if self.encoder == PLAIN:
            given = {
                "temporal": self.temporal != "mixed",
                "weights": self.weights,
                "freeze_encoder": self.freeze_encoder,
            }
            if named := [name for name, value in given.items() if value]:
                raise ValueError(
                    f"{' and '.join(named)} with encoder=plain: for a network of clips, such as slowonly_r18"
                )
        elif self.form not in ("auto", "video"):
            raise ValueError(f"encoder={self.encoder} with form={self.form}: only the form video takes clips")
        elif self.width is not None:
            raise ValueError(f"width with encoder={self.encoder}: only the plain encoder has one that can be chosen")
        return self

    def decided(self, *, videos: bool, shown: float) -> Self:
        """The same with a form: of videos, or of pictures whose longer sides are about `shown` pixels."""
        if self.form != "auto":
            return self
        small: FormName = "mnist" if self.channels == 1 else "cifar"
        form: FormName = "video" if videos else small if shown <= _SMALL else "image"
        try:
            return type(self).model_validate({**self.model_dump(exclude_unset=True), "form": form})
        except ValidationError as error:
            raise ConfigError(format_validation_error(error, type(self))) from None
