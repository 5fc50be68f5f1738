"""Options of PaDiM: what the paper (arXiv 2011.08785) leaves open or ablates, and what this version adds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from offnormal.detectors.base import DetectorOptions, read_whole
from offnormal.detectors.parts.maps import Border
from offnormal.types import Pool


class PadimOptions(DetectorOptions):
    """What the paper ablates, and what decides cost."""

    backbone: str = "efficientnet_lite0"
    """Pretrained network: efficientnet_lite0 (offline), resnet18, wide_resnet50_2 or any timm name."""
    weights: Path | None = None
    """File with the backbone's weights (.safetensors or .pth) instead of the published ones."""
    layers: list[str] | None = None
    """Layers to take features from; default: those with strides 4, 8 and 16."""
    fusion: Literal["concat", "sum"] = "concat"
    """concat: one Gaussian over all layers (paper); sum: one map per layer, added up (paper, table I)."""
    grid_stride: Annotated[int, Field(ge=1)] | None = None
    """Input pixels per position; default: the coarsest layer's, finer ones averaged onto it (paper: the finest, 4)."""
    reduce: Literal["random", "pca", "none"] = "none"
    """How channels are reduced: a random choice (paper), principal components, or not at all."""
    features: Annotated[int, Field(ge=1)] | None = None
    """Channels that are left (paper: 100 with resnet18, 550 with wide_resnet50_2); default 100."""
    eps: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    """Variance added to every channel (paper: 0.01, absolute)."""
    eps_relative: bool = True
    """Whether eps is a share of the channel's mean variance, so that it suits features of any scale."""
    shrinkage: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] | None = None
    """Share by which each covariance is drawn towards a multiple of eps; auto: estimated; default: 0, motion 0.2."""
    rank: Annotated[int, Field(ge=1)] | None = None
    """Directions of largest variance kept a position; the others count as varying by eps. Default: all."""
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Of the stored factors: halves move distances by 1e-4 to 1e-3; auto: float16 when they take above 512 MB."""
    neighbours: Annotated[Literal[1, 3], BeforeValidator(read_whole)] = 1
    """3: least distance by the models of 3 x 3 positions, for parts that do not lie quite alike, at 9 x the cost."""
    pool: Pool | None = None
    """Score of a map: max (paper), mean, or top: the mean of its highest values; default: max, with motion top."""
    top_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """With pool=top: share of the pixels that are averaged; default: 0.001, with motion 0.1."""
    sigma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 4.0
    """Blur of the anomaly map in input pixels."""
    border: Border = "reflect_scipy"
    """Border of that blur: reflect_scipy (reference implementation) or reflect_torch (anomalib)."""
    motion: bool = False
    """Videos of fixed cameras: learn appearance together with how it changes."""
    motion_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.4
    """With motion: seconds over which change is looked at."""
    appearance_features: Annotated[int, Field(ge=1)] = 64
    """With motion: random projections of the features."""
    motion_features: Annotated[int, Field(ge=1)] = 64
    """With motion: random projections of their absolute difference."""
