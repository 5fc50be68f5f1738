"""PaDiM: a Gaussian of pretrained features at every position (Defard et al., ICPR 2020 workshops, arXiv 2011.08785).

Section III-A: features of several layers of a pretrained network are brought to the finest grid and concatenated,
and a random subset of the channels is kept. Section III-B: a Gaussian per position. Section III-C: the Mahalanobis
distance is the anomaly map, its maximum the score. Upsampling to the input and a Gaussian blur with sigma 4 follow
the reference implementation (xiahaifeng1995/PaDiM), which the paper leaves open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from offnormal.backbones.base import Backbone, WeightCard
from offnormal.backbones.images import TimmBackbone, input_multiple
from offnormal.detectors.base import DetectorOptions, StatisticalDetector
from offnormal.detectors.gaussian import PositionGaussian, Precision
from offnormal.detectors.grid import concat_features, neighbours, on_grid, select_channels
from offnormal.detectors.maps import Border, Pool, enlarge_and_smooth, pool, smooth
from offnormal.errors import ConfigError, FitError
from offnormal.types import InputSpec, Output

__all__ = ["Padim", "PadimOptions", "PositionGaussian", "concat_features", "smooth"]

_PRECISIONS: dict[str, Precision] = {
    "auto": "auto",
    "float32": None,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
_CHUNK = 16  # maps at input size made at once from many distances


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
    shrinkage: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = 0.0
    """Share by which each covariance is drawn towards a multiple of eps; auto: estimated from the data."""
    rank: Annotated[int, Field(ge=1)] | None = None
    """Directions of largest variance kept a position; the others count as varying by eps. Default: all."""
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Of the stored factors: halves move distances by 1e-4 to 1e-3; auto: float16 when they take above 512 MB."""
    neighbours: Literal[1, 3] = 1
    """3: least distance by the models of 3 x 3 positions, for parts that do not lie quite alike, at 9 x the cost."""
    pool: Pool = "max"
    """Score of a map: max (paper), or top: the mean of its highest values."""
    top_share: Annotated[float, Field(gt=0, le=1)] = 0.001
    """With pool=top: share of the pixels that are averaged."""
    sigma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 4.0
    """Blur of the anomaly map in input pixels."""
    border: Border = "reflect_scipy"
    """Border of that blur: reflect_scipy (reference implementation) or reflect_torch (anomalib)."""


class Padim(StatisticalDetector):
    """Positions learn what their features are like; parts should lie alike in the picture.

    Score: maximum of the map. Map: Mahalanobis distance, upsampled and smoothed; higher = more anomalous.
    """

    name = "padim"
    Options = PadimOptions
    pools_map = True
    options: PadimOptions

    def __init__(self, options: PadimOptions, spec: InputSpec, *, backbone: Backbone | None = None) -> None:
        super().__init__(options, spec)
        if spec.channels != 3 or spec.frames != 1:
            raise ConfigError(f"padim eats RGB images, got {spec.channels} channels and {spec.frames} frames")
        self.backbone = backbone if backbone is not None else TimmBackbone(options.backbone, options.layers)
        layers = list(self.backbone.channels)
        self.groups = [layers] if options.fusion == "concat" else [[layer] for layer in layers]
        self.grids = [self._grid(group) for group in self.groups]
        self.gaussians = nn.ModuleList(
            PositionGaussian(
                options.eps,
                relative=options.eps_relative,
                shrinkage=options.shrinkage,
                rank=options.rank,
                precision=_PRECISIONS[options.precision],
            )
            for _ in self.groups
        )
        for number, group in enumerate(self.groups):
            total = sum(self.backbone.channels[layer] for layer in group)
            kept = self._kept(total)
            chosen = None
            if options.reduce == "random" and kept < total:
                generator = torch.Generator().manual_seed(options.seed)
                chosen = torch.randperm(total, generator=generator)[:kept].sort().values
            self.register_buffer(f"chosen_{number}", chosen)  # (d,) channel numbers, or None: all of them
            self.register_buffer(f"components_{number}", None)  # (sum C, d) principal components

    @classmethod
    def input_multiple(cls, options: DetectorOptions) -> int:
        """Sides of the input are multiples of this many pixels, so that the grids of the layers nest."""
        assert isinstance(options, PadimOptions)
        return math.lcm(input_multiple(options.backbone, options.layers), options.grid_stride or 1)

    @property
    def is_fitted(self) -> bool:
        """Whether scores can be asked for."""
        return all(gaussian.is_finished for gaussian in self._gaussians())

    def load_pretrained(self) -> None:
        """Fill in the backbone's weights; WeightsError when they cannot be had."""
        if isinstance(self.backbone, TimmBackbone):
            self.backbone.load_pretrained(self.options.weights)

    def cards(self) -> list[WeightCard]:
        """The card of the backbone's weights."""
        return [self.backbone.card]

    def reference(self) -> nn.Module | None:
        """The backbone as its library makes it."""
        return self.backbone.reference()

    def restore_cards(self, cards: Sequence[dict[str, Any]]) -> None:
        """Take the card of the weights that the bundle was fitted with."""
        self.backbone.card = WeightCard(**cards[0])

    def forward(self, x: Tensor) -> Output:
        """Pixels (N, 3, H, W) in 0-1 -> score (N, 1), map (N, 1, H, W); NotFittedError before the fit."""
        self.require_fitted()
        return self.score_embedding(self.embed(x))

    # --- learning -------------------------------------------------------------------------------------------

    def embed(self, x: Tensor) -> Tensor:
        """Pixels (N, 3, H, W) -> (N, E): chosen channels on their grids, position by position, a flat row a sample."""
        features = self.backbone(x)
        embedded = []
        for number, (group, grid) in enumerate(zip(self.groups, self.grids, strict=True)):
            maps = [features[layer] for layer in group]
            chosen = getattr(self, f"chosen_{number}")
            if chosen is not None:
                maps = select_channels(maps, chosen)
            embedded.append(on_grid(maps, grid).flatten(1))
        return torch.cat(embedded, 1) if len(embedded) > 1 else embedded[0]

    def absorb(self, embedding: Tensor) -> None:
        """Add the statistics of embedded samples (N, E)."""
        for gaussian, features in zip(self._gaussians(), self._split(embedding), strict=True):
            gaussian.update(features)

    def merge(self, other: Self) -> None:
        """Add the statistics of another detector of the same options and channel choice; associative."""
        for number, (mine, theirs) in enumerate(zip(self._gaussians(), other._gaussians(), strict=True)):
            a, b = getattr(self, f"chosen_{number}"), getattr(other, f"chosen_{number}")
            if (a is None) != (b is None) or (a is not None and not torch.equal(a, b)):
                raise FitError("the two detectors chose different channels: give them the same options and seed")
            mine.merge(theirs)

    def blank(self) -> Self:
        """A detector of the same options and channel choice without statistics, on the same backbone."""
        other = type(self)(self.options, self.input, backbone=self.backbone)
        other.ignored = self.ignored
        for number in range(len(self.groups)):
            setattr(other, f"chosen_{number}", getattr(self, f"chosen_{number}"))
        return other

    def without(self, part: Self) -> Self:
        """The detector learnt from the samples that `part` has not seen."""
        rest = self.blank()
        for number, (mine, theirs) in enumerate(zip(self._gaussians(), part._gaussians(), strict=True)):
            rest.gaussians[number] = mine.without(theirs)
        return rest

    def finish(self, *, keep: bool = False) -> None:
        """Factorise the covariances; FitError with fewer than two samples."""
        for number, gaussian in enumerate(self._gaussians()):
            self._settle(number)
            gaussian.finish(keep=keep)

    # --- scoring --------------------------------------------------------------------------------------------

    def score_embedding(self, embedding: Tensor) -> Output:
        """Output for embedded samples (N, E)."""
        parts = self._split(embedding)
        distances = []
        for number, gaussian in enumerate(self._gaussians()):
            distances.append(self._nearest(self._project(number, parts[number]), gaussian.mahalanobis))
        return self._output(distances)

    def leave_one_out(self, embedding: Tensor) -> Iterator[Output]:
        """Outputs for training samples (N, E), each scored by the Gaussian of all others; before `finish`."""
        parts = self._split(embedding)
        distances = []
        for number, gaussian in enumerate(self._gaussians()):
            self._settle(number)
            own = self._project(number, parts[number])
            distances.append(self._nearest(own, partial(gaussian.leave_one_out, own)))
        for start in range(0, len(embedding), _CHUNK):
            yield self._output([distance[start : start + _CHUNK] for distance in distances])

    def _output(self, distances: list[Tensor]) -> Output:
        """Distances (N, h, w) per group of layers -> map and score."""
        size, (sigma, border) = self.input.size, (self.options.sigma, self.options.border)
        if self.ignored is None:
            maps = sum(enlarge_and_smooth(distance, size, sigma, border) for distance in distances)
        else:
            kept = (~self.ignored).to(distances[0])
            shown = sum(enlarge_and_smooth(distance, size, 0, border) for distance in distances)
            maps = smooth(shown * kept, sigma, border) / smooth(kept[None], sigma, border).clamp(min=1e-6) * kept
        assert isinstance(maps, Tensor)
        return Output(score=pool(maps, self.options.pool, self.options.top_share)[:, None], map=maps[:, None])

    def _nearest(self, x: Tensor, measure: Callable[[Tensor], Tensor]) -> Tensor:
        """Distances (N, h, w) of features (N, D, h, w): by their own position's model, or the nearest of 3 x 3."""
        if self.options.neighbours == 1:
            return measure(x)
        nearest = torch.full((len(x), *x.shape[2:]), math.inf, device=x.device)
        for models, seen, features in neighbours(x, reach=1):
            there, found = (slice(None), *seen), measure(features)[(slice(None), *models)]
            nearest[there] = torch.minimum(nearest[there], found)
        return nearest

    # --- parts ----------------------------------------------------------------------------------------------

    def _gaussians(self) -> list[PositionGaussian]:
        return [gaussian for gaussian in self.gaussians if isinstance(gaussian, PositionGaussian)]

    def _grid(self, group: list[str]) -> tuple[int, int]:
        stride = self.options.grid_stride or max(self.backbone.strides[layer][0] for layer in group)
        height, width = self.input.size
        return max(1, height // stride), max(1, width // stride)

    def _kept(self, total: int) -> int:
        if self.options.reduce == "none":
            if self.options.features is not None:
                raise ConfigError("--features goes with --reduce random or --reduce pca")
            return total
        if self.options.features is not None and self.options.features > total:
            raise ConfigError(f"--features {self.options.features}: the layers have {total} channels")
        return min(self.options.features or 100, total)  # 100: the paper's choice for resnet18

    def _split(self, embedding: Tensor) -> list[Tensor]:
        """(N, E) -> (N, D, h, w) per group of layers, views in channels-last order."""
        areas = [height * width for height, width in self.grids]
        sizes = []
        for number, (group, area) in enumerate(zip(self.groups, areas, strict=True)):
            chosen = getattr(self, f"chosen_{number}")
            sizes.append((sum(self.backbone.channels[x] for x in group) if chosen is None else len(chosen)) * area)
        pieces = torch.split(embedding, sizes, dim=1)
        return [
            piece.view(len(piece), *grid, -1).permute(0, 3, 1, 2)
            for piece, grid in zip(pieces, self.grids, strict=True)
        ]

    def _settle(self, number: int) -> None:
        """With principal components: choose them from the pooled second moments and project the statistics."""
        gaussian = self._gaussians()[number]
        if self.options.reduce != "pca" or getattr(self, f"components_{number}") is not None:
            return
        moments = gaussian.pooled_moments()
        kept = self._kept(moments.shape[0])
        components = torch.linalg.eigh(moments).eigenvectors[:, -kept:].to(gaussian.mean).contiguous()
        gaussian.project(components)
        setattr(self, f"components_{number}", components)

    def _project(self, number: int, features: Tensor) -> Tensor:
        components = getattr(self, f"components_{number}")
        if components is None:
            return features
        projected: Tensor = features.permute(0, 2, 3, 1).to(components) @ components
        return projected.permute(0, 3, 1, 2)
