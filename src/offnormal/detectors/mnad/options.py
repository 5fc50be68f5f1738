"""Options of MNAD: those of its paper (arXiv 2003.13228) and published code, and our additions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from offnormal.config.fields import Size
from offnormal.config.fit import ImportConfig
from offnormal.config.model import ADVANCED
from offnormal.detectors.base import Channels, DetectorOptions

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class MNADOptions(DetectorOptions):
    """Options of `mnad`: the task, the network, the losses, the score, and the online update."""

    method: Literal["pred", "recon"] = "pred"
    """pred: predict a frame from the frames before it; recon: reconstruct each frame."""
    frames: Annotated[int, Field(ge=2)] = 5
    """With --method pred: frames per clip; the last one is predicted."""
    channels: Channels = 3
    """1: gray; 3: color."""
    width: Annotated[int, Field(ge=1), ADVANCED] = 64
    """Channels at full resolution; doubled each time it halves. 16 is enough on a CPU."""
    memory_size: Annotated[int, Field(ge=0), ADVANCED] = 10
    """Number of memory items, at least 2; 0: no memory."""
    item_length: Annotated[Annotated[int, Field(ge=1)] | None, ADVANCED] = None
    """Length of an item. Default: 8 times the width (published: 512)."""
    compactness_weight: Annotated[Weight | None, ADVANCED] = None
    """Weight of the loss that pulls features toward their nearest item. Default: 0.1 (pred), 0.01 (recon)."""
    separateness_weight: Annotated[Weight | None, ADVANCED] = None
    """Weight of the loss that separates the two nearest items. Default: 0.1 (pred), 0.01 (recon)."""
    margin: Annotated[Weight, ADVANCED] = 1.0
    """Margin of the separateness loss."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False), ADVANCED] = 2e-4
    """Learning rate of Adam."""
    psnr_share: Annotated[Share | None, ADVANCED] = None
    """Share of the PSNR in the score; the rest is the feature distance. Default: 0.6 (pred), 0.7 (recon)."""
    online_update: bool = False
    """Update the memory online while a video is scored; scores then depend on earlier frames."""
    update_threshold: Annotated[Weight | None, ADVANCED] = None
    """With --online-update: largest weighted error of a frame that updates. Default: 0.01 (pred), 0.015 (recon)."""
    carry_over: Annotated[bool, ADVANCED] = False
    """With --online-update: keep the memory from one video to the next, as the published code does."""
    compat: Annotated[Literal["code", "paper"], ADVANCED] = "code"
    """Memory update and distances as in the published code, or as in the formulas of the paper."""
    sigma: Annotated[Weight, ADVANCED] = 1.0
    """Blur of the anomaly map, in input pixels."""
    score_precision: Annotated[Literal["float32", "bfloat16"], ADVANCED] = "float32"
    """Precision of the network when scoring; bfloat16 is faster where the hardware supports it."""
    color_order: Annotated[Literal["rgb", "bgr"], ADVANCED] = "rgb"
    """Channel order inside the network; bgr for weights of the published code."""

    @model_validator(mode="after")
    def _enough_items(self) -> MNADOptions:
        if self.memory_size == 1:
            raise ValueError("memory_size=1: expected 0, or at least 2 items for the separateness loss")
        if self.online_update and not self.memory_size:
            raise ValueError("online_update without a memory: set memory_size to at least 2")
        return self

    @property
    def predicts(self) -> bool:
        """Whether frames are predicted from the frames before them."""
        return self.method == "pred"

    @property
    def length(self) -> int:
        """Length of an item."""
        return self.item_length or 8 * self.width

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weights of the losses, by name (README of the published code)."""
        default = 0.1 if self.predicts else 0.01
        weights = {"compactness": self.compactness_weight, "separateness": self.separateness_weight}
        return {"intensity": 1.0, **{name: default if weight is None else weight for name, weight in weights.items()}}

    @property
    def share(self) -> float:
        """Share of the frame's error in the score (README of the published code); 1 without a memory."""
        if not self.memory_size:
            return 1.0
        return self.psnr_share if self.psnr_share is not None else 0.6 if self.predicts else 0.7

    @property
    def threshold(self) -> float:
        """Largest weighted error of a frame that updates the memory (Evaluate.py of the published code)."""
        if self.update_threshold is not None:
            return self.update_threshold
        return 0.01 if self.predicts else 0.015


class MNADImport(ImportConfig):
    """Options of `offnormal import mnad`."""

    items: Path | None = None
    """File of the memory items that belong to the weights: keys.pt, .npy, or .safetensors."""
    size: Size = 256
    """Input size in pixels: N (square) or HxW, multiples of 8."""

    @property
    def files(self) -> list[Path]:
        """Files of weights and items."""
        return self.weights if self.items is None else [*self.weights, self.items]

    @property
    def chosen(self) -> dict[str, object]:
        """The input size, which the weights do not determine."""
        return {"size": self.size}
