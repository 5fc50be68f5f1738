"""Options of MNAD: those of its paper (arXiv 2003.13228) and published code, and what this version adds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from offnormal.config.fields import Size
from offnormal.config.fit import ImportConfig
from offnormal.detectors.base import Channels, DetectorOptions

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class MNADOptions(DetectorOptions):
    """What is made of which frames, the network, the losses, what counts as the score, and what is learnt later."""

    method: Literal["pred", "recon"] = "pred"
    """pred: a frame is predicted from those before it; recon: each frame is rebuilt by itself."""
    frames: Annotated[int, Field(ge=2)] = 5
    """With pred: frames of a clip, the last of which is predicted from the others."""
    channels: Channels = 3
    """1: frames are looked at in grey; 3: in colour."""
    width: Annotated[int, Field(ge=1)] = 64
    """Channels at full size; they double whenever the sides halve. 16 will do on a processor."""
    memory_size: Annotated[int, Field(ge=0)] = 10
    """Items of the memory, at least 2; 0: no memory."""
    item_length: Annotated[int, Field(ge=1)] | None = None
    """Length of an item; default: 8 times the width, 512 as published."""
    compactness_weight: Weight | None = None
    """Of the loss that draws features to their nearest item; default: 0.1 with pred, 0.01 with recon."""
    separateness_weight: Weight | None = None
    """Of the loss that keeps features from their second nearest item; default: 0.1 with pred, 0.01 with recon."""
    margin: Weight = 1.0
    """How much farther the second nearest item is to be."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2e-4
    """Of Adam."""
    psnr_share: Share | None = None
    """Share of the PSNR in the score, the rest is the feature distance's; default: 0.6 with pred, 0.7 with recon."""
    update: bool = False
    """Let the memory learn on while a video is scored; scores then depend on the frames before."""
    update_threshold: Weight | None = None
    """With update: weighted error below which a frame is learnt from; default: 0.01 with pred, 0.015 with recon."""
    carry_over: bool = False
    """With update: take the memory on from one video to the next, as the published code does."""
    compat: Literal["code", "paper"] = "code"
    """Where they differ in the update of the memory and in distances: the published code, or the paper's formulas."""
    sigma: Weight = 1.0
    """Blur of the anomaly map in input pixels."""
    score_precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the network when it scores; bfloat16 is faster where the machine has it."""
    colours: Literal["rgb", "bgr"] = "rgb"
    """Order of the colours inside the network; bgr: that of weights of the published code."""

    @model_validator(mode="after")
    def _enough_items(self) -> MNADOptions:
        if self.memory_size == 1:
            raise ValueError("memory_size 1: expected 2 items or more, of which the second nearest is kept away; or 0")
        if self.update and not self.memory_size:
            raise ValueError("update without a memory: give memory_size, too")
        return self

    @property
    def predicts(self) -> bool:
        """Whether a frame is made of those before it."""
        return self.method == "pred"

    @property
    def length(self) -> int:
        """Of an item."""
        return self.item_length or 8 * self.width

    @property
    def loss_weights(self) -> dict[str, float]:
        """Of the losses, by their names (README of the published code)."""
        usual = 0.1 if self.predicts else 0.01
        given = {"compactness": self.compactness_weight, "separateness": self.separateness_weight}
        return {"intensity": 1.0, **{name: usual if weight is None else weight for name, weight in given.items()}}

    @property
    def share(self) -> float:
        """Of the error of the frame in the score (README of the published code); all of it without a memory."""
        if not self.memory_size:
            return 1.0
        return self.psnr_share if self.psnr_share is not None else 0.6 if self.predicts else 0.7

    @property
    def threshold(self) -> float:
        """Weighted error below which a frame is learnt from (Evaluate.py of the published code)."""
        if self.update_threshold is not None:
            return self.update_threshold
        return 0.01 if self.predicts else 0.015


class MNADImport(ImportConfig):
    """offnormal import mnad."""

    items: Path | None = None
    """File of the memory items that belong to the weights: keys.pt, or .npy or .safetensors."""
    size: Size = 256
    """Pixels that frames are resized to: N or HxW, multiples of 8."""

    @property
    def files(self) -> list[Path]:
        """Weights and items."""
        return self.weights if self.items is None else [*self.weights, self.items]

    @property
    def chosen(self) -> dict[str, object]:
        """The size, which the network leaves open."""
        return {"size": self.size}
