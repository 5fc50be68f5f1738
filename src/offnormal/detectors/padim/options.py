"""Options of PaDiM: what the paper (arXiv 2011.08785) leaves open or ablates, and what this version adds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from offnormal.config.fields import PositiveDuration
from offnormal.config.model import ADVANCED
from offnormal.detectors.base import DetectorOptions, parse_integer
from offnormal.detectors.parts.maps import Border
from offnormal.types import Pool


class PadimOptions(DetectorOptions):
    """Options of `padim`: what the paper ablates, and what determines cost."""

    backbone: str = "efficientnet_lite0"
    """Pretrained network: efficientnet_lite0 (works offline), resnet18, wide_resnet50_2, or any timm name."""
    weights: Annotated[Path | None, ADVANCED] = None
    """Weights file of the backbone (.safetensors or .pth), instead of the published weights."""
    layers: list[str] | None = None
    """Layer to take features from; repeatable. Default: the layers with strides 4, 8, and 16."""
    fusion: Annotated[Literal["concat", "sum"], ADVANCED] = "concat"
    """concat: one Gaussian over all layers (paper); sum: one map per layer, summed (paper, table I)."""
    grid_stride: Annotated[int, Field(ge=1)] | None = None
    """Input pixels per position. Default: stride of the coarsest layer (paper: of the finest, 4)."""
    reduce: Annotated[Literal["random", "pca", "none"], ADVANCED] = "none"
    """Channel reduction: random selection (paper), principal components, or none."""
    features: Annotated[Annotated[int, Field(ge=1)] | None, ADVANCED] = None
    """Channels after reduction (paper: 100 for resnet18, 550 for wide_resnet50_2). Default: 100."""
    eps: Annotated[float, Field(gt=0, allow_inf_nan=False), ADVANCED] = 0.01
    """Variance added to each channel (paper: 0.01, absolute)."""
    eps_relative: Annotated[bool, ADVANCED] = True
    """Scale eps by the mean variance of the channels, to suit features of any scale."""
    shrinkage: Annotated[Annotated[float, Field(ge=0, le=1)] | Literal["auto"] | None, ADVANCED] = None
    """Shrinkage of each covariance toward a multiple of eps; auto: estimated. Default: 0, with --motion 0.2."""
    rank: Annotated[Annotated[int, Field(ge=1)] | None, ADVANCED] = None
    """Principal directions stored per position; the others get variance eps. Default: all."""
    precision: Annotated[Literal["auto", "float32", "float16", "bfloat16"], ADVANCED] = "auto"
    """Type of the stored factors; auto: float16 above 512 MB (changes distances by 1e-4 to 1e-3)."""
    neighbors: Annotated[Literal[1, 3], BeforeValidator(parse_integer), ADVANCED] = 1
    """3: smallest distance over 3x3 positions, for parts that vary in position; 9 times the cost."""
    pool: Pool | None = None
    """Image score from the map: max (paper), mean, or top (mean of the highest). Default: max, with --motion top."""
    top_share: Annotated[Annotated[float, Field(gt=0, le=1)] | None, ADVANCED] = None
    """With --pool top: share of the pixels that are averaged. Default: 0.001, with --motion 0.1."""
    sigma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 4.0
    """Blur of the anomaly map, in input pixels."""
    border: Annotated[Border, ADVANCED] = "reflect_scipy"
    """Border of the blur: as in the reference implementation (reflect_scipy) or in anomalib (reflect_torch)."""
    motion: bool = False
    """For videos from fixed cameras: model appearance together with its change over time."""
    motion_lag: Annotated[PositiveDuration, ADVANCED] = 0.4
    """With --motion: time over which change is measured."""
    appearance_features: Annotated[int, Field(ge=1), ADVANCED] = 64
    """With --motion: random projections of the features."""
    motion_features: Annotated[int, Field(ge=1), ADVANCED] = 64
    """With --motion: random projections of their absolute difference."""
