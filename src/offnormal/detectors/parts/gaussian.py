"""A multivariate Gaussian at every position of a feature map, learned in one pass with constant memory.

PaDiM section III-B (arXiv 2011.08785): mean and covariance of the embedding at every position, the covariance
regularized by eps times the identity, the Mahalanobis distance as the anomaly score.

In units of the square root of the variance added to each channel, z = (x - mean) / sqrt(ridge), the regularized
covariance is the identity (times a floor with shrinkage) plus the learned covariance. Its inverse root is stored in one
of three forms: a triangle; with few samples, a basis of their span and a triangle inside it, with exactly the same
distances; or, on request, only the directions of largest variance, all others with the variance of the ridge.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from torch import Tensor, nn

from offnormal.detectors.parts.inverse_root import Regularization, Solver, oracle_shrinkage, traces
from offnormal.detectors.parts.maps import samples_first
from offnormal.detectors.parts.moments import PositionMoments
from offnormal.detectors.parts.triangles import packed_size, squared_lengths, unpack, write_packed
from offnormal.errors import FitError, NotFittedError

_DEAD = 1e-4  # minimum variance of a channel, as a share of the mean variance, so that a dead channel raises no alarm
_PIECE = 128  # samples per leave-one-out batch
_LARGE_BYTES = 512 << 20  # of factors in float32; above it, `auto` stores float16
_Z_BYTES = 8 << 20  # of deviations computed at once

Precision = torch.dtype | Literal["auto"] | None


class PositionGaussian(nn.Module):
    """One Gaussian per position of (D, H, W) feature maps.

    eps: variance added to every channel (paper: 0.01). With `relative`, a share of the channel's variance at its mean
    over all positions, so that it means the same for features of any scale. Every position gets the same value: a quiet
    position takes its floor from the others. shrinkage: share (0-1) by which every covariance is shrunk toward a
    multiple of the ridge with the same trace; "auto": the oracle approximating estimate (Chen, Wiesel, Eldar, and Hero,
    IEEE TSP 2010) over all positions. rank: directions of largest variance stored per position; None: all. precision:
    of the stored factors; float16 and bfloat16 halve them; "auto": float16 above 512 MB; None: the precision of the
    first batch, in which everything is computed.
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
        self._moments: PositionMoments | None = None  # during the fit

    @property
    def is_finished(self) -> bool:
        """Whether distances can be computed."""
        return self.whitener is not None

    @property
    def mean(self) -> Tensor:
        """(D, H, W) mean of all samples; NotFittedError before the first."""
        center = self.center if self._moments is None and self.center is not None else self._require_moments().mean()
        return center.T.reshape(-1, *self.grid.tolist())

    def update(self, x: Tensor) -> None:
        """Add feature maps (N, D, H, W); FitError if their shape differs from the maps before."""
        x = torch.as_tensor(x)
        if self._moments is None:
            if self.is_finished:
                self._require_moments()
            self._moments = PositionMoments(rows_in_half=self.precision is not None and _is_large(x))
        self._moments.update(x)
        self._copy_count()

    def merge(self, other: Self) -> None:
        """Add the statistics of another, unfinished Gaussian; the order of merging does not matter."""
        if other.count == 0:
            return
        theirs = other._require_moments()
        if self._moments is None:
            self._moments = PositionMoments(rows_in_half=theirs.rows_in_half)
        self._moments.merge(theirs)
        self._copy_count()

    def without(self, part: Self) -> PositionGaussian:
        """Create a Gaussian without the samples of `part`, which must be contained in this one."""
        remaining = PositionGaussian(
            self.eps, relative=self.relative, shrinkage=self.shrinkage, rank=self.rank, precision=self.precision
        )
        remaining._moments = self._require_moments().without(part._require_moments())
        remaining._copy_count()
        return remaining

    def pooled_moments(self) -> Tensor:
        """(D, D) float64 covariance of the features of all samples at all positions together."""
        return self._require_moments().pooled()

    def project(self, directions: Tensor) -> None:
        """Replace the features with their coordinates along `directions` (D, d); before `finish`."""
        self._require_moments().project(directions)

    def covariance(self) -> Tensor:
        """(H * W, D, D) regularized covariance of every position, eps included."""
        if self.whitener is None:
            moments = self._require_moments()
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
        """Factorize; drop the statistics unless `keep`.

        Raises FitError with fewer than two samples, which have no covariance, and for features that are not finite.
        """
        moments = self._require_moments()
        if moments.count < 2:
            raise FitError(f"got {moments.count} of at least 2 normal samples that a covariance needs: add more")
        center = moments.mean()
        if not bool(torch.isfinite(center).all()):
            raise FitError("the features contain NaN or infinite values: check the weights of the backbone")
        settings = self._settings(moments)
        solve = Solver(moments, settings)
        positions, size = len(center), solve.rank or center.shape[1]
        value_count = positions * (packed_size(size) + (0 if solve.rank is None else size * center.shape[1]))
        dtype = self._storage_dtype(center.dtype, value_count)
        self.whitener = center.new_empty(positions * packed_size(size), dtype=dtype)
        self.basis = None if solve.rank is None else center.new_empty(positions, center.shape[1], size, dtype=dtype)
        for block in moments.blocks():
            factor = solve.factor(block)
            write_packed(self.whitener, block, factor.whitener())
            if self.basis is not None and factor.basis is not None:
                self.basis[block] = factor.basis.to(dtype)
        self.center, self.ridge, self.floor = center, settings.ridge, settings.floor
        if not keep:
            self._moments = None

    def mahalanobis(self, x: Tensor) -> Tensor:
        """Distances (N, H, W) of feature maps (N, D, H, W), in standard deviations; higher = more anomalous.

        Fastest if x is stored channels last. Raises NotFittedError before `finish`.
        """
        if self.whitener is None or self.center is None or self.ridge is None:
            raise NotFittedError("the Gaussian is not finished: call update with normal samples, then finish")
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

        probe: other features (N, D, H, W), measured with the Gaussians without sample i at that position; default: the
        samples themselves. Closed form: with z = x - mean, v = probe - mean + z / (n - 1), A the covariance of the
        others plus the contribution of z, and b = n / ((n - 1) (n - 2)): d^2 = v' A^-1 v + b (v' A^-1 z)^2 / (1 - b z'
        A^-1 z)  (Sherman and Morrison). Exact, except for terms that depend on all samples together: a relative eps,
        the shrinkage, and, with a rank, the choice of directions. Raises FitError with fewer than three samples.
        """
        moments = self._require_moments()
        n = moments.count
        if n < 3:
            raise FitError(f"got {n} of at least 3 normal samples that leave-one-out needs: add more")
        x = torch.as_tensor(x)
        mean, settings = moments.mean(), self._settings(moments)
        precise = torch.float64 if n <= mean.shape[1] else mean.dtype  # leverages near 1 cause cancellation
        solve = Solver(moments, settings, degrees=n - 2, precise=precise)
        squared = mean.new_empty(len(mean), len(x))
        share = n / ((n - 1) * (n - 2)) * (1 - settings.shrinkage)
        for block in moments.blocks():
            factor = solve.factor(block)
            for start in range(0, len(x), _PIECE):
                piece = slice(start, start + _PIECE)
                z = self._deviations(x[piece], block, mean, settings.ridge, precise)
                if probe is None:
                    distances = factor.leave_one_out(z, share) * (n / (n - 1)) ** 2
                else:
                    v = self._deviations(probe[piece], block, mean, settings.ridge, precise) + z / (n - 1)
                    distances = factor.leave_one_out_probe(z, v, share)
                squared[block, piece] = distances.to(squared.dtype)
        return squared.sqrt_().T.reshape(len(x), *x.shape[2:])

    # --- helpers --------------------------------------------------------------------------------------------

    @staticmethod
    def _deviations(x: Tensor, block: slice, mean: Tensor, ridge: Tensor, dtype: torch.dtype) -> Tensor:
        """(p, N, D) in units of the ridge; x (N, D, H, W) may be in half precision."""
        rows = samples_first(x)[:, block].to(dtype) - mean[block].to(dtype)
        return (rows * ridge.to(dtype).rsqrt()).transpose(0, 1).contiguous()

    def _squared(self, z: Tensor, block: slice) -> Tensor:
        """Squared distances (p, N): inside the basis from the triangle, outside it from the floor."""
        assert self.whitener is not None
        if self.basis is None:
            return squared_lengths(z, self.whitener, block)
        squared = z.new_empty(z.shape[:2])
        step = max(1, _Z_BYTES // (self.basis.shape[1] * self.basis.shape[2] * z.element_size()))
        for start in range(0, len(z), step):
            inside_rows = slice(start, min(start + step, len(z)))
            positions = slice(block.start + inside_rows.start, block.start + inside_rows.stop)
            basis = self.basis[positions].to(z.dtype)
            inside = torch.bmm(z[inside_rows], basis)
            outside = torch.baddbmm(z[inside_rows], inside, basis.mT, alpha=-1).square_().sum(-1)
            if self.floor is not None:
                outside /= self.floor[positions, None]
            squared[inside_rows] = squared_lengths(inside, self.whitener, positions) + outside
        return squared

    def _storage_dtype(self, computed: torch.dtype, value_count: int) -> torch.dtype:
        if self.precision is None:
            return computed
        if self.precision == "auto":
            return torch.float16 if computed == torch.float32 and value_count * 4 > _LARGE_BYTES else computed
        assert isinstance(self.precision, torch.dtype)
        return self.precision

    def _require_moments(self) -> PositionMoments:
        if self._moments is None:
            if self.is_finished:
                raise NotFittedError("finish has dropped the statistics: call finish(keep=True) to continue fitting")
            raise NotFittedError("there are no samples yet: call update with normal samples first")
        self._moments.require_samples()
        return self._moments

    def _copy_count(self) -> None:
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
            raise FitError("all normal images are the same: add normal images that vary")
        floor = _DEAD * variance.mean() + torch.finfo(variance.dtype).tiny
        return self.eps * variance.clamp(min=float(floor))


def _is_large(x: Tensor) -> bool:
    """Whether the factors for feature maps like x would be large in float32."""
    return x.ndim == 4 and x.shape[1] ** 2 * x.shape[2] * x.shape[3] * 4 > _LARGE_BYTES
