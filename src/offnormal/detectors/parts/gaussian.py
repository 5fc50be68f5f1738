"""A multivariate Gaussian at every position of a feature map, learned in one pass and constant memory.

PaDiM section III-B (arXiv 2011.08785): mean and covariance of the embedding at every position, the covariance
regularized by eps times the identity, the Mahalanobis distance as the measure of anomaly.

In units of the square root of what is added to each channel, z = (x - mean) / sqrt(ridge), the covariance is the
identity (times a floor with shrinkage) plus what was learned. Three forms of its inverse root are kept: a triangle;
with few samples a basis of their span and a triangle inside it, exactly the same distances; and, on request, only
the directions of largest variance, all others taken to vary as little as the ridge says.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from torch import Tensor, nn

from offnormal.detectors.parts.inverse_root import Regularization, Solver, oracle_shrinkage, traces
from offnormal.detectors.parts.maps import samples_first
from offnormal.detectors.parts.moments import PositionMoments
from offnormal.detectors.parts.triangles import fill, packed_size, squared_lengths, unpack
from offnormal.errors import FitError, NotFittedError

_DEAD = 1e-4  # of the mean variance: the least that a channel is taken to vary, so that a dead one is no alarm
_PIECE = 128  # samples left out at once
_LARGE_BYTES = 512 << 20  # of factors in float32 from which on `auto` keeps them in float16
_Z_BYTES = 8 << 20  # of deviations computed at once

Precision = torch.dtype | Literal["auto"] | None


class PositionGaussian(nn.Module):
    """One Gaussian per position of (D, H, W) feature maps.

    eps: variance added to every channel (paper: 0.01); with `relative` it is a share of the channel's variance at
    its mean over all positions, so that it means the same for features of any scale. Every position gets the same:
    what is quiet at one place keeps a floor that is known from the others.
    shrinkage: share (0-1) by which every covariance is drawn toward a multiple of the ridge with the same trace;
    "auto" takes the oracle approximating estimate (Chen, Wiesel, Eldar and Hero, IEEE TSP 2010) over all positions.
    rank: directions of largest variance kept a position; None keeps everything.
    Computes in the precision of the first batch; precision: of the stored factors, that of the computation unless
    given (float16 or bfloat16 halve them; "auto": float16 when they would take more than 512 MB).
    """

    count: Tensor  # () int64, number of samples
    grid: Tensor  # (2,) int64, (H, W)
    center: Tensor | None  # (P, D), P = H * W
    ridge: Tensor | None  # (D,) variance added to every channel
    floor: Tensor | None  # (P,) variance outside the basis in units of the ridge; None: 1
    whitener: Tensor | None  # (P * packed_size(R),) upper triangles U (R, R): |z U|, or |z basis U|, is the distance
    basis: Tensor | None  # (P, D, R) orthonormal columns; None: R = D

    def __init__(
        self,
        eps: float = 0.01,
        *,
        relative: bool = False,
        shrinkage: float | Literal["auto"] = 0.0,
        rank: int | None = None,
        precision: Precision = None,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.relative = relative
        self.shrinkage = shrinkage
        self.rank = rank
        self.precision = precision
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("grid", torch.zeros(2, dtype=torch.int64))
        for name in ("center", "ridge", "floor", "whitener", "basis"):
            self.register_buffer(name, None)
        self._moments: PositionMoments | None = None  # while learning

    @property
    def is_finished(self) -> bool:
        """Whether distances can be asked for."""
        return self.whitener is not None

    @property
    def mean(self) -> Tensor:
        """(D, H, W) mean of the samples so far; NotFittedError before the first."""
        center = self.center if self._moments is None and self.center is not None else self._learning().mean()
        return center.T.reshape(-1, *self.grid.tolist())

    def update(self, x: Tensor) -> None:
        """Add feature maps (N, D, H, W); FitError when their shape is not that of the maps before."""
        x = torch.as_tensor(x)
        if self._moments is None:
            if self.is_finished:
                self._learning()
            self._moments = PositionMoments(rows_in_half=self.precision is not None and _is_large(x))
        self._moments.update(x)
        self._note()

    def merge(self, other: Self) -> None:
        """Add the statistics of another, unfinished one; the order of merging does not matter."""
        if other.count == 0:
            return
        theirs = other._learning()
        if self._moments is None:
            self._moments = PositionMoments(rows_in_half=theirs.rows_in_half)
        self._moments.merge(theirs)
        self._note()

    def without(self, part: Self) -> PositionGaussian:
        """What is left of these statistics when the samples of `part`, all contained in them, are taken out."""
        rest = PositionGaussian(
            self.eps, relative=self.relative, shrinkage=self.shrinkage, rank=self.rank, precision=self.precision
        )
        rest._moments = self._learning().without(part._learning())
        rest._note()
        return rest

    def pooled_moments(self) -> Tensor:
        """(D, D) float64 covariance of the features of all samples at all positions together; adds up like the rest."""
        return self._learning().pooled()

    def project(self, directions: Tensor) -> None:
        """Replace the features by their coordinates along `directions` (D, d); before `finish`."""
        self._learning().project(directions)

    def covariance(self) -> Tensor:
        """(H * W, D, D) regularized covariance of every position, eps included."""
        if self.whitener is None:
            moments = self._learning()
            solve = Solver(moments, self._settings(moments))
            ridge = solve.settings.ridge.sqrt()
            return torch.cat([solve.scaled_covariance(block) for block in moments.blocks()]) * ridge[:, None] * ridge
        assert self.ridge is not None
        scale = self.ridge.sqrt()
        size = len(scale) if self.basis is None else self.basis.shape[2]
        factor: Tensor = torch.linalg.inv(unpack(self.whitener.to(scale.dtype), size).mT)  # lower triangular
        scaled = factor @ factor.mT
        if self.basis is not None:
            basis = self.basis.to(scale.dtype)
            floor = scale.new_ones(len(basis)) if self.floor is None else self.floor
            flat = floor[:, None, None]
            scaled = basis @ (scaled - flat * torch.eye(size).to(scaled)) @ basis.mT + flat * torch.eye(len(scale)).to(
                scaled
            )
        return scale[:, None] * scaled * scale

    def finish(self, *, keep: bool = False) -> None:
        """Factorize; the statistics are dropped unless `keep`.

        Raises FitError with fewer than two samples, which have no covariance, and for features that are not finite.
        """
        moments = self._learning()
        if moments.count < 2:
            raise FitError(f"{moments.count} sample(s): at least 2 normal samples are needed for a covariance")
        center = moments.mean()
        if not bool(torch.isfinite(center).all()):
            raise FitError("the features hold NaN or infinite values: check the weights of the backbone")
        settings = self._settings(moments)
        solve = Solver(moments, settings)
        positions, size = len(center), solve.rank or center.shape[1]
        numbers = positions * (packed_size(size) + (0 if solve.rank is None else size * center.shape[1]))
        kept = self._stored(center.dtype, numbers)
        self.whitener = center.new_empty(positions * packed_size(size), dtype=kept)
        self.basis = None if solve.rank is None else center.new_empty(positions, center.shape[1], size, dtype=kept)
        for block in moments.blocks():
            factor = solve.factor(block)
            fill(self.whitener, block, factor.whitener())
            if self.basis is not None and factor.basis is not None:
                self.basis[block] = factor.basis.to(kept)
        self.center, self.ridge, self.floor = center, settings.ridge, settings.floor
        if not keep:
            self._moments = None

    def mahalanobis(self, x: Tensor) -> Tensor:
        """Distances (N, H, W) of feature maps (N, D, H, W), in standard deviations; higher = more anomalous.

        Fastest when x lies in memory position by position (channels last). Raises NotFittedError before `finish`.
        """
        if self.whitener is None or self.center is None or self.ridge is None:
            raise NotFittedError("the Gaussian has no factor yet: call update with normal samples, then finish")
        x = torch.as_tensor(x)
        rows = samples_first(x.to(self.center.dtype))  # (N, P, D)
        scale = self.ridge.rsqrt()
        count, positions, channels = rows.shape
        step = max(1, _Z_BYTES // (count * channels * rows.element_size()))
        squared = rows.new_empty(positions, count)
        for start in range(0, positions, step):
            block = slice(start, min(start + step, positions))
            z = torch.sub(rows[:, block], self.center[block]).mul_(scale)
            z = z.transpose(0, 1).contiguous()  # (p, N, D)
            squared[block] = self._squared(z, block)
        return squared.sqrt_().T.reshape(count, *x.shape[2:])

    def leave_one_out(self, x: Tensor, probe: Tensor | None = None) -> Tensor:
        """Distances (N, H, W) of training samples (N, D, H, W), each from the Gaussian of all the others.

        probe: other features (N, D, H, W) to measure by the Gaussians that have not seen sample i at that position;
        default: the samples themselves. Closed form: with z = x - mean, v = probe - mean + z / (n - 1), A the
        covariance of the others plus what z adds to it and b = n / ((n - 1) (n - 2)):
        d^2 = v' A^-1 v + b (v' A^-1 z)^2 / (1 - b z' A^-1 z)  (Sherman and Morrison).
        Exact, but for what depends on all samples together: a relative eps, the shrinkage and, with a rank, the
        choice of directions. Raises FitError with fewer than three samples.
        """
        moments = self._learning()
        n = moments.count
        if n < 3:
            raise FitError(f"{n} samples: at least 3 are needed to leave one out")
        x = torch.as_tensor(x)
        mean, settings = moments.mean(), self._settings(moments)
        precise = torch.float64 if n <= mean.shape[1] else mean.dtype  # leverages near 1 cancel
        solve = Solver(moments, settings, degrees=n - 2, precise=precise)
        squared = mean.new_empty(len(mean), len(x))
        share = n / ((n - 1) * (n - 2)) * (1 - settings.shrinkage)
        for block in moments.blocks():
            factor = solve.factor(block)
            for start in range(0, len(x), _PIECE):
                piece = slice(start, start + _PIECE)
                z = self._deviations(x[piece], block, mean, settings.ridge, precise)
                if probe is None:
                    found = factor.left_out(z, share) * (n / (n - 1)) ** 2
                else:
                    v = self._deviations(probe[piece], block, mean, settings.ridge, precise) + z / (n - 1)
                    found = factor.probed(z, v, share)
                squared[block, piece] = found.to(squared.dtype)
        return squared.sqrt_().T.reshape(len(x), *x.shape[2:])

    # --- parts ----------------------------------------------------------------------------------------------

    @staticmethod
    def _deviations(x: Tensor, block: slice, mean: Tensor, ridge: Tensor, dtype: torch.dtype) -> Tensor:
        """(p, N, D) in units of the ridge; x (N, D, H, W) may be kept in half precision."""
        rows = samples_first(x)[:, block].to(dtype) - mean[block].to(dtype)
        return (rows * ridge.to(dtype).rsqrt()).transpose(0, 1).contiguous()

    def _squared(self, z: Tensor, block: slice) -> Tensor:
        """Squared distances (p, N): inside the basis by the triangle, outside it by the floor."""
        assert self.whitener is not None
        if self.basis is None:
            return squared_lengths(z, self.whitener, block)
        squared = z.new_empty(z.shape[:2])
        step = max(1, _Z_BYTES // (self.basis.shape[1] * self.basis.shape[2] * z.element_size()))
        for start in range(0, len(z), step):
            here = slice(start, min(start + step, len(z)))
            there = slice(block.start + here.start, block.start + here.stop)
            basis = self.basis[there].to(z.dtype)
            inside = torch.bmm(z[here], basis)
            outside = torch.baddbmm(z[here], inside, basis.mT, alpha=-1).square_().sum(-1)
            if self.floor is not None:
                outside /= self.floor[there, None]
            squared[here] = squared_lengths(inside, self.whitener, there) + outside
        return squared

    def _stored(self, computed: torch.dtype, numbers: int) -> torch.dtype:
        if self.precision is None:
            return computed
        if self.precision == "auto":
            return torch.float16 if computed == torch.float32 and numbers * 4 > _LARGE_BYTES else computed
        assert isinstance(self.precision, torch.dtype)
        return self.precision

    def _learning(self) -> PositionMoments:
        if self._moments is None:
            if self.is_finished:
                raise NotFittedError("the statistics were dropped by finish; use finish(keep=True) to go on learning")
            raise NotFittedError("no sample has been seen: call update with normal samples first")
        self._moments.require_samples()
        return self._moments

    def _note(self) -> None:
        assert self._moments is not None
        self.count.fill_(self._moments.count)
        self.grid.copy_(torch.tensor(self._moments.grid))

    def _settings(self, moments: PositionMoments) -> Regularization:
        ridge = self._ridge(moments)
        if self.shrinkage == 0:
            return Regularization(ridge, 0.0, None, self.rank)
        trace, squares = traces(moments, ridge)
        shrinkage = self.shrinkage
        if shrinkage == "auto":
            shrinkage = oracle_shrinkage(trace, squares, moments.count, moments.channels)
        return Regularization(ridge, shrinkage, 1 + shrinkage * trace / moments.channels, self.rank)

    def _ridge(self, moments: PositionMoments) -> Tensor:
        """(D,) variance added to every channel."""
        mean = moments.mean()
        if not self.relative:
            return mean.new_full(mean.shape[1:], self.eps)
        variance = moments.variance()
        if not float(variance.mean()) > 1e-12 * float(mean.square().mean()):
            raise FitError("the normal images are all the same: what varies cannot be learned; give others too")
        floor = _DEAD * variance.mean() + torch.finfo(variance.dtype).tiny
        return self.eps * variance.clamp(min=float(floor))


def _is_large(x: Tensor) -> bool:
    """Whether the factors for feature maps like x would be large in float32."""
    return x.ndim == 4 and x.shape[1] ** 2 * x.shape[2] * x.shape[3] * 4 > _LARGE_BYTES
