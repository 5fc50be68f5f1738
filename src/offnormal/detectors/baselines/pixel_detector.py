"""What the simple baselines share: every pixel of a small gray frame has its own mean and variance, and no more."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Literal, Self, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from offnormal.config.model import ADVANCED
from offnormal.detectors.base import DetectorOptions, StatisticalDetector
from offnormal.detectors.parts.maps import pool, smooth_within
from offnormal.detectors.parts.pixel_moments import PixelMoments
from offnormal.errors import ConfigError, NotFittedError
from offnormal.types import InputSpec, Output, Pool, Pooling

_PIECE = 64  # samples scored at once


class PixelOptions(DetectorOptions):
    """Options of the pixel baselines."""

    eps: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    """Variance added to each pixel, as a share of the mean variance of all pixels."""
    sigma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Blur of the anomaly map, in input pixels."""
    pool: Pool = "mean"
    """Frame score from the map: mean, max, or top (mean of the highest values)."""
    top_share: Annotated[float, Field(gt=0, le=1), ADVANCED] = 0.05
    """With --pool top: share of the pixels that are averaged."""


PixelOptionsT = TypeVar("PixelOptionsT", bound=PixelOptions)


class PixelDetector(StatisticalDetector[PixelOptionsT]):
    """Standardizes every pixel by what it was like on normal frames; a method says of what, and what counts."""

    default_size = 64
    pools_map = True
    needs_fixed_position = True

    def __init__(self, options: PixelOptionsT, spec: InputSpec) -> None:
        super().__init__(options, spec)
        taken = self.clip_spec(options).frames
        if spec.channels != 1 or spec.frames != taken:
            raise ConfigError(
                f"{self.name} eats {taken} gray frame(s) at once, got {spec.channels} channels and {spec.frames} frames"
            )
        self.register_buffer("center", None)
        self.register_buffer("spread", None)
        self.center: Tensor | None  # (H * W,) mean on normals
        self.spread: Tensor | None  # (H * W,) standard deviation on normals, eps included
        self._moments: PixelMoments | None = None  # while learning

    @classmethod
    def input_channels(cls, options: PixelOptionsT) -> Literal[1, 3]:
        """Gray."""
        return 1

    @abstractmethod
    def excess(self, deviation: Tensor) -> Tensor:
        """Standardized deviations -> how anomalous each is by itself."""

    @property
    def is_fitted(self) -> bool:
        """Whether scores can be asked for."""
        return self.center is not None

    @property
    def pooling(self) -> Pooling:
        """How the score comes out of the map."""
        return Pooling(self.options.pool, self.options.top_share)

    # --- learning -------------------------------------------------------------------------------------------

    def absorb(self, embedding: Tensor) -> None:
        """Add the statistics of embedded samples (N, H * W)."""
        found = PixelMoments.of(embedding)
        self._moments = found if self._moments is None else self._moments.merged(found)

    def merge(self, other: Self) -> None:
        """Add the statistics of another detector of the same options; associative."""
        if other._moments is not None:
            self._moments = other._moments if self._moments is None else self._moments.merged(other._moments)

    def blank(self) -> Self:
        """A detector of the same options without any statistics."""
        other = type(self)(self.options, self.input)
        other.ignored = self.ignored
        return other

    def without(self, part: Self) -> Self:
        """The detector learned from the samples that `part` has not seen."""
        rest = self.blank()
        rest._moments = self._learning().without(part._learning())
        return rest

    def finish(self, *, keep: bool = False) -> None:
        """Keep mean and standard deviation; FitError with fewer than two samples, or when all are the same."""
        moments = self._learning()
        self.center = moments.mean.float()
        self.spread = self._ridged(moments.variance()).sqrt().float()
        if not keep:
            self._moments = None

    # --- scoring --------------------------------------------------------------------------------------------

    def score_embedding(self, embedding: Tensor) -> Output:
        """Output for embedded samples (N, H * W)."""
        self.require_fitted()
        assert self.center is not None and self.spread is not None
        return self._output((embedding - self.center) / self.spread)

    def leave_one_out(self, embedding: Tensor) -> Iterator[Output]:
        """Outputs for training samples (N, H * W), each by mean and variance of all others; before `finish`."""
        moments = self._learning()
        for rows in torch.split(embedding, _PIECE):
            mean, variance = moments.left_out(rows)
            yield self._output(((rows - mean) / self._ridged(variance).sqrt()).float())

    # --- parts ----------------------------------------------------------------------------------------------

    def _ridged(self, variance: Tensor) -> Tensor:
        """Variances (..., H * W) with eps."""
        return variance + self.options.eps * variance.mean(-1, keepdim=True)

    def _output(self, deviation: Tensor) -> Output:
        """Standardized deviations (N, H * W) -> map and score."""
        maps = self.excess(deviation).view(-1, *self.input.size)
        maps = smooth_within(maps, self.ignored, self.options.sigma)
        return Output(score=pool(maps, self.options.pool, self.options.top_share)[:, None], map=maps[:, None])

    def _learning(self) -> PixelMoments:
        if self._moments is None:
            if self.is_fitted:
                raise NotFittedError("the statistics were dropped by finish; use finish(keep=True) to go on learning")
            raise NotFittedError("no sample has been seen: call update with normal samples first")
        return self._moments
