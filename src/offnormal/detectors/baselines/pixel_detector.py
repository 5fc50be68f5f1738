"""Base class of the pixel baselines: every pixel of a small gray frame has its own mean and variance."""

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
    """Standardizes a feature of every pixel by its statistics on normal frames; subclasses choose the feature."""

    default_size = 64
    pools_map = True
    needs_fixed_position = True

    def __init__(self, options: PixelOptionsT, spec: InputSpec) -> None:
        super().__init__(options, spec)
        frames = self.clip_spec(options).frames
        if spec.channels != 1 or spec.frames != frames:
            raise ConfigError(
                f"input with channels={spec.channels}, frames={spec.frames}: {self.name} expects "
                f"channels=1, frames={frames}"
            )
        self.register_buffer("center", None)
        self.register_buffer("spread", None)
        self.center: Tensor | None  # (H * W,) mean on normals
        self.spread: Tensor | None  # (H * W,) standard deviation on normals, eps included
        self._moments: PixelMoments | None = None  # during the fit

    @classmethod
    def input_channels(cls, options: PixelOptionsT) -> Literal[1, 3]:
        """1: gray."""
        return 1

    @abstractmethod
    def excess(self, deviation: Tensor) -> Tensor:
        """Standardized deviations -> anomaly of each pixel."""

    @property
    def is_fitted(self) -> bool:
        """Whether the detector can score."""
        return self.center is not None

    @property
    def pooling(self) -> Pooling:
        """How the score is pooled from the map."""
        return Pooling(self.options.pool, self.options.top_share)

    # --- learning -------------------------------------------------------------------------------------------

    def absorb(self, embedding: Tensor) -> None:
        """Add the statistics of embedded samples (N, H * W)."""
        moments = PixelMoments.from_samples(embedding)
        self._moments = moments if self._moments is None else self._moments.merge(moments)

    def merge(self, other: Self) -> None:
        """Add the statistics of another detector with the same options; associative."""
        if other._moments is not None:
            self._moments = other._moments if self._moments is None else self._moments.merge(other._moments)

    def blank(self) -> Self:
        """Create a detector with the same options, without statistics."""
        detector = type(self)(self.options, self.input)
        detector.ignored = self.ignored
        return detector

    def without(self, part: Self) -> Self:
        """Create a detector without the statistics of `part`."""
        detector = self.blank()
        detector._moments = self._require_moments().without(part._require_moments())
        return detector

    def finish(self, *, keep: bool = False) -> None:
        """Compute mean and standard deviation; FitError for fewer than two samples, or identical ones."""
        moments = self._require_moments()
        self.center = moments.mean.float()
        self.spread = self._add_eps(moments.variance()).sqrt().float()
        if not keep:
            self._moments = None

    # --- scoring --------------------------------------------------------------------------------------------

    def score_embedding(self, embedding: Tensor) -> Output:
        """Score embedded samples (N, H * W)."""
        self.require_fitted()
        assert self.center is not None and self.spread is not None
        return self._output((embedding - self.center) / self.spread)

    def leave_one_out(self, embedding: Tensor) -> Iterator[Output]:
        """Score training samples (N, H * W), each with the statistics of all others; before `finish`."""
        moments = self._require_moments()
        for rows in torch.split(embedding, _PIECE):
            mean, variance = moments.leave_one_out(rows)
            yield self._output(((rows - mean) / self._add_eps(variance).sqrt()).float())

    # --- helpers --------------------------------------------------------------------------------------------

    def _add_eps(self, variance: Tensor) -> Tensor:
        """Variances (..., H * W) with eps added."""
        return variance + self.options.eps * variance.mean(-1, keepdim=True)

    def _output(self, deviation: Tensor) -> Output:
        """Standardized deviations (N, H * W) -> map and score."""
        maps = self.excess(deviation).view(-1, *self.input.size)
        maps = smooth_within(maps, self.ignored, self.options.sigma)
        return Output(score=pool(maps, self.options.pool, self.options.top_share)[:, None], map=maps[:, None])

    def _require_moments(self) -> PixelMoments:
        if self._moments is None:
            if self.is_fitted:
                raise NotFittedError("finish has dropped the statistics: call finish(keep=True) to continue fitting")
            raise NotFittedError("there are no samples yet: call update with normal samples first")
        return self._moments
