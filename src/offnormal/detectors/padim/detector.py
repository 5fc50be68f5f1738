"""PaDiM: a Gaussian of pretrained features at every position (Defard et al., ICPR 2020 workshops, arXiv 2011.08785).

Section III-A: features of several layers of a pretrained network are resized to the finest grid and concatenated; a
random subset of the channels is used. Section III-B: one Gaussian per position. Section III-C: the Mahalanobis distance
is the anomaly map, its maximum the score. The paper leaves upsampling and blur open; they follow the reference
implementation (xiahaifeng1995/PaDiM; sigma 4). `motion` is our addition: the Gaussian models the features of a frame
together with their change since an earlier frame, each projected at random.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial, reduce
from typing import Self

import torch
from torch import Tensor, nn

from offnormal.backbones.base import Backbone, WeightCard
from offnormal.backbones.images import TimmBackbone, input_multiple
from offnormal.detectors.base import StatisticalDetector
from offnormal.detectors.padim.options import PadimOptions
from offnormal.detectors.parts.gaussian import PositionGaussian, Precision
from offnormal.detectors.parts.maps import (
    concat_on_grid,
    enlarge_and_smooth,
    min_distance,
    pool,
    select_channels,
    smooth_within,
)
from offnormal.detectors.parts.motion import MotionProjection, distinct_frames
from offnormal.errors import ConfigError, FitError
from offnormal.types import ClipSpec, InputSpec, Output, Pool, Pooling

_PRECISIONS: dict[str, Precision] = {
    "auto": "auto",
    "float32": None,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
_CHUNK = 16  # maps at input size computed at once


class Padim(StatisticalDetector[PadimOptions]):
    """Learns the features at each position; for parts in a fixed position, or a fixed camera.

    Score: pooling of the map, by default its maximum. Map: Mahalanobis distance, upsampled and smoothed; higher = more
    anomalous.
    """

    name = "padim"
    Options = PadimOptions
    pools_map = True

    def __init__(self, options: PadimOptions, spec: InputSpec) -> None:
        super().__init__(options, spec)
        frames = 2 if options.motion else 1
        if spec.channels != 3 or spec.frames != frames:
            raise ConfigError(
                f"input with channels={spec.channels}, frames={spec.frames}: padim expects channels=3, frames={frames}"
            )
        if options.motion and options.reduce != "none":
            raise ConfigError(
                f"--reduce {options.reduce} with --motion: omit --reduce, --motion reduces the channels itself"
            )
        self.pool: Pool = options.pool or ("top" if options.motion else "max")
        self.top_share = options.top_share or (0.1 if options.motion else 0.001)
        self.reach = options.neighbors // 2
        self.backbone = self.make_backbone()
        layers = list(self.backbone.channels)
        self.groups = [layers] if options.fusion == "concat" else [[layer] for layer in layers]
        coarsest = [max(self.backbone.strides[layer][0] for layer in group) for group in self.groups]
        strides = [options.grid_stride or stride for stride in coarsest]
        self.grids = [(max(1, spec.size[0] // stride), max(1, spec.size[1] // stride)) for stride in strides]
        self.gaussians = self._blank_gaussians()
        totals = [sum(self.backbone.channels[layer] for layer in group) for group in self.groups]
        self.motion = nn.ModuleList(
            MotionProjection(total, options.appearance_features, options.motion_features, options.seed)
            for total in totals
            if options.motion
        )
        for number, total in enumerate(totals):
            count = self._reduced_channels(total)
            chosen = None
            if options.reduce == "random" and count < total:
                generator = torch.Generator().manual_seed(options.seed)
                chosen = torch.randperm(total, generator=generator)[:count].sort().values
            self.register_buffer(f"chosen_{number}", chosen)  # (d,) channel indices; None: all
            self.register_buffer(f"components_{number}", None)  # (sum C, d) principal components

    @classmethod
    def input_multiple(cls, options: PadimOptions) -> int:
        """Number of pixels that the input's sides must be multiples of, so that the grids of the layers nest."""
        return math.lcm(input_multiple(options.backbone, options.layers), options.grid_stride or 1)

    @classmethod
    def clip_spec(cls, options: PadimOptions) -> ClipSpec:
        """With motion, two frames `motion_lag` seconds apart; the later one is scored."""
        return ClipSpec(frames=2, fps=1 / options.motion_lag) if options.motion else ClipSpec()

    def make_backbone(self) -> Backbone:
        """Create the backbone without pretrained weights."""
        return TimmBackbone(self.options.backbone, self.options.layers)

    @property
    def is_fitted(self) -> bool:
        """Whether the detector can score."""
        return all(gaussian.is_finished for gaussian in self._gaussians())

    def load_pretrained(self) -> None:
        """Load the backbone's weights; WeightsError if they are unavailable."""
        if isinstance(self.backbone, TimmBackbone):
            self.backbone.load_pretrained(self.options.weights)

    def cards(self) -> list[WeightCard]:
        """Card of the backbone's weights."""
        return [self.backbone.card]

    def reference(self) -> nn.Module | None:
        """The backbone as created by its library."""
        return self.backbone.reference()

    def restore_cards(self, cards: Sequence[Mapping[str, object]]) -> None:
        """Restore the card of the weights that the bundle was fitted with."""
        self.backbone.card = WeightCard.model_validate(cards[0])

    @property
    def pooling(self) -> Pooling:
        """How the score is pooled from the map."""
        return Pooling(self.pool, self.top_share)

    # --- learning -------------------------------------------------------------------------------------------

    def embed(self, x: Tensor) -> Tensor:
        """Pixels (N, 3, H, W) -> (N, E): selected channels on their grids, channels last, one flat row per sample.

        With motion: pixels (N, 3, 2, H, W); `MotionProjection` combines the features of both frames.
        """
        earlier = None
        if self.options.motion:
            count, (x, earlier) = len(x), distinct_frames(x)
        features = self.backbone(x)
        embedded = []
        for number, (group, grid) in enumerate(zip(self.groups, self.grids, strict=True)):
            maps = [features[layer] for layer in group]
            chosen = getattr(self, f"chosen_{number}")
            if chosen is not None:
                maps = select_channels(maps, chosen)
            rows = concat_on_grid(maps, grid)
            if earlier is not None:
                rows = self.motion[number](rows[earlier], rows[:count])
            embedded.append(rows.flatten(1))
        return torch.cat(embedded, 1) if len(embedded) > 1 else embedded[0]

    def absorb(self, embedding: Tensor) -> None:
        """Add the statistics of embedded samples (N, E)."""
        for gaussian, features in zip(self._gaussians(), self._split(embedding), strict=True):
            gaussian.update(features)

    def merge(self, other: Self) -> None:
        """Add the statistics of another detector with the same options and selected channels; associative."""
        for number, (mine, theirs) in enumerate(zip(self._gaussians(), other._gaussians(), strict=True)):
            a, b = getattr(self, f"chosen_{number}"), getattr(other, f"chosen_{number}")
            if (a is None) != (b is None) or (a is not None and not torch.equal(a, b)):
                raise FitError("the two detectors use different channels: give them the same options and seed")
            mine.merge(theirs)

    def blank(self) -> Self:
        """Create a detector with the same options, channels, and backbone, but without statistics."""
        shared = (self.backbone, self.motion, self.ignored)
        replaced = {id(self.gaussians): self._blank_gaussians(), **{id(module): module for module in shared}}
        detector = copy.deepcopy(self, replaced)
        for number in range(len(self.groups)):
            setattr(detector, f"components_{number}", None)
        return detector

    def without(self, part: Self) -> Self:
        """Create a detector without the statistics of `part`."""
        detector = self.blank()
        for number, (mine, theirs) in enumerate(zip(self._gaussians(), part._gaussians(), strict=True)):
            detector.gaussians[number] = mine.without(theirs)
        return detector

    def finish(self, *, keep: bool = False) -> None:
        """Factorize the covariances; FitError with fewer than two samples."""
        for number, gaussian in enumerate(self._gaussians()):
            self._project_on_components(number)
            gaussian.finish(keep=keep)

    # --- scoring --------------------------------------------------------------------------------------------

    def score_embedding(self, embedding: Tensor) -> Output:
        """Score embedded samples (N, E)."""
        features = self._split(embedding)
        distances = []
        for number, gaussian in enumerate(self._gaussians()):
            distances.append(min_distance(self._project(number, features[number]), gaussian.mahalanobis, self.reach))
        return self._output(distances)

    def leave_one_out(self, embedding: Tensor) -> Iterator[Output]:
        """Score training samples (N, E), each with the Gaussian of all the others; before `finish`."""
        features = self._split(embedding)
        distances = []
        for number, gaussian in enumerate(self._gaussians()):
            self._project_on_components(number)
            projected = self._project(number, features[number])
            distances.append(min_distance(projected, partial(gaussian.leave_one_out, projected), self.reach))
        for start in range(0, len(embedding), _CHUNK):
            yield self._output([distance[start : start + _CHUNK] for distance in distances])

    def _output(self, distances: list[Tensor]) -> Output:
        """Distances (N, h, w) per group of layers -> map and score."""
        size, (sigma, border) = self.input.size, (self.options.sigma, self.options.border)
        if self.ignored is None:
            maps = reduce(torch.add, (enlarge_and_smooth(distance, size, sigma, border) for distance in distances))
        else:
            enlarged = reduce(torch.add, (enlarge_and_smooth(distance, size, 0, border) for distance in distances))
            maps = smooth_within(enlarged, self.ignored, sigma, border)
        return Output(score=pool(maps, self.pool, self.top_share)[:, None], map=maps[:, None])

    # --- helpers --------------------------------------------------------------------------------------------

    def _blank_gaussians(self) -> nn.ModuleList:
        """One Gaussian without statistics for each group of layers."""
        shrinkage = self.options.shrinkage
        if shrinkage is None:
            shrinkage = 0.2 if self.options.motion else 0.0
        return nn.ModuleList(
            PositionGaussian(
                self.options.eps,
                relative=self.options.eps_relative,
                shrinkage=shrinkage,
                rank=self.options.rank,
                precision=_PRECISIONS[self.options.precision],
            )
            for _ in self.groups
        )

    def _gaussians(self) -> list[PositionGaussian]:
        return [gaussian for gaussian in self.gaussians if isinstance(gaussian, PositionGaussian)]

    def _reduced_channels(self, total: int) -> int:
        if self.options.reduce == "none":
            if self.options.features is not None:
                raise ConfigError("--features requires --reduce random or --reduce pca")
            return total
        if self.options.features is not None and self.options.features > total:
            raise ConfigError(f"--features {self.options.features}: the layers have {total} channels")
        return min(self.options.features or 100, total)  # 100: as in the paper for resnet18

    def _width(self, number: int) -> int:
        """Channels of the embedding of a group of layers."""
        if self.options.motion:
            return self.options.appearance_features + self.options.motion_features
        chosen = getattr(self, f"chosen_{number}")
        return sum(self.backbone.channels[layer] for layer in self.groups[number]) if chosen is None else len(chosen)

    def _split(self, embedding: Tensor) -> list[Tensor]:
        """(N, E) -> (N, D, h, w) per group of layers; views in channels-last order."""
        areas = [height * width for height, width in self.grids]
        pieces = torch.split(embedding, [self._width(number) * area for number, area in enumerate(areas)], dim=1)
        return [
            piece.view(len(piece), *grid, -1).permute(0, 3, 1, 2)
            for piece, grid in zip(pieces, self.grids, strict=True)
        ]

    def _project_on_components(self, number: int) -> None:
        """Choose the principal components from the pooled second moments, and project the statistics on them."""
        gaussian = self._gaussians()[number]
        if self.options.reduce != "pca" or getattr(self, f"components_{number}") is not None:
            return
        moments = gaussian.pooled_moments()
        count = self._reduced_channels(moments.shape[0])
        components = torch.linalg.eigh(moments).eigenvectors[:, -count:].to(gaussian.mean).contiguous()
        gaussian.project(components)
        setattr(self, f"components_{number}", components)

    def _project(self, number: int, features: Tensor) -> Tensor:
        components = getattr(self, f"components_{number}")
        if components is None:
            return features
        projected: Tensor = features.permute(0, 2, 3, 1).to(components) @ components
        return projected.permute(0, 3, 1, 2)
