"""A detector: the mean color of each grid cell has its own mean and variance."""

from collections.abc import Iterator
from typing import Annotated, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from offnormal.detectors.base import DetectorOptions, StatisticalDetector
from offnormal.detectors.parts.pixel_moments import PixelMoments
from offnormal.types import InputSpec, Output, Pooling


class ColorGridOptions(DetectorOptions):
    """Options of `color_grid`: each is a flag of `offnormal fit color_grid`."""

    cells: Annotated[int, Field(ge=1, le=64)] = 16
    """Cells along each side of the image."""


class ColorGrid(StatisticalDetector[ColorGridOptions]):
    """Score: the highest value of the map. Map: squared standardized color of each cell; higher = more anomalous."""

    name = "color_grid"
    Options = ColorGridOptions
    default_size = 64
    pools_map = True
    needs_fixed_position = True

    def __init__(self, options: ColorGridOptions, spec: InputSpec) -> None:
        super().__init__(options, spec)
        self.register_buffer("mean", None)  # (E,), E = channels * cells * cells
        self.register_buffer("deviation", None)  # (E,)
        self.moments: PixelMoments | None = None  # during the fit

    @property
    def is_fitted(self) -> bool:
        return self.mean is not None

    @property
    def pooling(self) -> Pooling:
        return Pooling("max")

    def forward(self, x: Tensor) -> Output:
        self.require_fitted()
        return self.score_embedding(self.embed(x))

    def embed(self, x: Tensor) -> Tensor:
        if self.ignored is not None:
            x = x.masked_fill(self.ignored, 0)
        return functional.adaptive_avg_pool2d(x, self.options.cells).flatten(1)

    def absorb(self, embedding: Tensor) -> None:
        self.add(PixelMoments.from_samples(embedding))

    def add(self, moments: PixelMoments) -> None:
        self.moments = moments if self.moments is None else self.moments.merge(moments)

    def merge(self, other: Self) -> None:
        if other.moments is not None:
            self.add(other.moments)

    def blank(self) -> Self:
        detector = type(self)(self.options, self.input)
        detector.ignored = self.ignored
        return detector

    def without(self, part: Self) -> Self:
        detector = self.blank()
        detector.moments = self.moments.without(part.moments)
        return detector

    def finish(self, *, keep: bool = False) -> None:
        self.mean = self.moments.mean.float()
        self.deviation = self.spread(self.moments.variance()).float()
        if not keep:
            self.moments = None

    def score_embedding(self, embedding: Tensor) -> Output:
        return self.output((embedding - self.mean) / self.deviation)

    def leave_one_out(self, embedding: Tensor) -> Iterator[Output]:
        mean, variance = self.moments.leave_one_out(embedding)
        yield self.output(((embedding - mean) / self.spread(variance)).float())

    def spread(self, variance: Tensor) -> Tensor:
        return torch.sqrt(variance + 1e-5)  # a cell that never varies tolerates 1/255

    def output(self, standardized: Tensor) -> Output:
        """Standardized colors (N, E) -> score (N, 1), map (N, 1, H, W)."""
        cells = self.options.cells
        maps = standardized.square().unflatten(1, (-1, cells, cells)).mean(1, keepdim=True)
        maps = functional.interpolate(maps, self.input.size, mode="bilinear")
        if self.ignored is not None:
            maps = maps.masked_fill(self.ignored, 0)
        return Output(score=maps.flatten(1).amax(1, keepdim=True), map=maps)
