"""Inverse roots of covariances from moments, block by block: the only module that solves equations.

Everything is in units of the square root of the ridge, in which the regularization is the identity, or the floor of
each position times the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from offnormal.detectors.parts.moments import PositionMoments
from offnormal.detectors.parts.triangles import packed_size
from offnormal.errors import FitError

_WHOLE_ROWS = 64  # up to this many rows, a triangle is inverted in one piece


@dataclass(frozen=True, slots=True)
class Regularization:
    """Regularization of the learned covariance: (1 - shrinkage) * covariance + floor * ridge."""

    ridge: Tensor  # (D,)
    shrinkage: float
    floor: Tensor | None  # (P,); None: 1 everywhere
    rank: int | None


@dataclass(frozen=True, slots=True)
class _InverseRoot:
    """Inverse root of the covariances of some positions, in units of the ridge."""

    lower: Tensor  # (p, R, R) Cholesky factor of the covariance, inside the basis if there is one
    basis: Tensor | None  # (p, D, R)
    floor: Tensor | None  # (p, 1) variance outside the basis
    complete: bool  # whether the basis spans all samples

    def leave_one_out(self, z: Tensor, share: float) -> Tensor:
        """Squared distances (p, N) of z (p, N, D) with the covariance less share * z z'."""
        q = self._whiten(z).square_().sum(-1)
        squared = q / (1 - share * q).clamp(min=1e-9)
        return squared if self.complete else squared + self._outside(z)

    def leave_one_out_probe(self, z: Tensor, v: Tensor, share: float) -> Tensor:
        """Squared distances (p, N) of v (p, N, D) with the covariance less share * z z'."""
        wz, wv = self._whiten(z), self._whiten(v)
        leverage, inner = share * wz.square().sum(-1), (wv * wz).sum(-1)
        squared = wv.square_().sum(-1) + share * inner.square_() / (1 - leverage).clamp(min=1e-9)
        return squared if self.basis is None else squared + self._outside(v)

    def _outside(self, v: Tensor) -> Tensor:
        """Squared lengths (p, N) of the components outside the basis, in units of the floor."""
        assert self.basis is not None
        squared = torch.baddbmm(v, torch.bmm(v, self.basis), self.basis.mT, alpha=-1).square_().sum(-1)
        return squared if self.floor is None else squared / self.floor

    def whitener(self) -> Tensor:
        """(p, R, R) upper triangular W with W W' = covariance^-1."""
        return _invert_lower(self.lower).mT

    def _whiten(self, v: Tensor) -> Tensor:
        """(p, N, R) with unit covariance; a triangular solve is cheaper than an inverse for a few vectors."""
        inside = v if self.basis is None else torch.bmm(v, self.basis)
        solved: Tensor = torch.linalg.solve_triangular(self.lower.mT, inside, upper=True, left=False)
        return solved


class Solver:
    """Solves moments for inverse roots, block by block."""

    def __init__(
        self,
        moments: PositionMoments,
        settings: Regularization,
        *,
        degrees: int | None = None,
        precise: torch.dtype | None = None,
    ) -> None:
        self.moments = moments
        self.settings = settings
        self.degrees = degrees or moments.count - 1
        self.precise = precise or settings.ridge.dtype
        n, channels = moments.count, moments.channels
        self.rank: int | None = None
        few = moments.has_rows and n * channels + packed_size(n) < packed_size(channels)
        if settings.rank is not None and settings.rank < min(n - 1, channels):
            self.rank = settings.rank
        elif few:
            self.rank = n
        if self.rank is None:
            moments.to_scatter()  # it is read more than once
        self._truncates = self.rank is not None and self.rank != n

    def factor(self, block: slice) -> _InverseRoot:
        """Inverse roots at a block of positions; FitError if a covariance is not positive definite."""
        floor = None if self.settings.floor is None else self.settings.floor[block, None].to(self.precise)
        if self.rank is None:
            return _InverseRoot(_cholesky(self.scaled_covariance(block).to(self.precise)), None, None, complete=True)
        if self._truncates:
            return self._solve_largest(block, floor)
        samples = (self.moments.centered(block) / self.settings.ridge.sqrt()).to(self.precise)
        basis, coordinates = torch.linalg.qr(samples.mT)  # (p, D, n), (p, n, n): samples' = basis @ coordinates
        inside = coordinates @ coordinates.mT * ((1 - self.settings.shrinkage) / self.degrees)
        inside.diagonal(dim1=1, dim2=2).add_(1 if floor is None else floor)
        return _InverseRoot(_cholesky(inside), basis, floor, complete=True)

    def scaled_covariance(self, block: slice) -> Tensor:
        """(p, D, D) covariance with ridge and shrinkage, in units of the ridge."""
        scale = self.settings.ridge.rsqrt()
        weight = (1 - self.settings.shrinkage) / self.degrees
        covariance = self.moments.scatter(block) * (scale[:, None] * scale * weight)
        covariance.diagonal(dim1=1, dim2=2).add_(1 if self.settings.floor is None else self.settings.floor[block, None])
        return covariance

    def _solve_largest(self, block: slice, floor: Tensor | None) -> _InverseRoot:
        """Inverse root in the directions of largest variance."""
        assert self.rank is not None
        weight = (1 - self.settings.shrinkage) / self.degrees
        lowest = 1.0 if floor is None else floor
        if self.moments.has_rows and self.moments.count < self.moments.channels:
            samples = (self.moments.centered(block) / self.settings.ridge.sqrt()).to(self.precise)
            squares, mixed = torch.linalg.eigh(samples @ samples.mT)
            squares, mixed = squares[:, -self.rank :].clamp(min=1e-12), mixed[:, :, -self.rank :]
            basis = samples.mT @ mixed / squares[:, None].sqrt()
            variances = squares * weight + lowest
        else:
            values, vectors = torch.linalg.eigh(self.scaled_covariance(block).to(self.precise))
            variances, basis = values[:, -self.rank :], vectors[:, :, -self.rank :]
        return _InverseRoot(torch.diag_embed(variances.sqrt()), basis, floor, complete=False)


def oracle_shrinkage(trace: Tensor, squares: Tensor, count: int, channels: int) -> float:
    """Oracle approximating shrinkage, 0-1 (Chen et al. 2010, eq. 23), pooled over positions.

    trace, squares: (P,) trace of every covariance and of its square.
    """
    squares_sum, trace_sum = float(squares.double().sum()), float(trace.double().square().sum())
    upper = (1 - 2 / channels) * squares_sum + trace_sum
    lower = (count + 1 - 2 / channels) * (squares_sum - trace_sum / channels)
    return 1.0 if lower <= 0 else min(1.0, upper / lower)


def traces(moments: PositionMoments, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """(P,) traces of the covariances and of their squares, in units of the ridge."""
    scale = ridge.rsqrt() / max(1, moments.count - 1) ** 0.5
    pairs = []
    for block in moments.blocks():
        covariance = moments.scatter(block) * (scale[:, None] * scale)
        pairs.append((covariance.diagonal(dim1=1, dim2=2).sum(-1), covariance.square_().sum((1, 2))))
    return torch.cat([trace for trace, _ in pairs]), torch.cat([squares for _, squares in pairs])


def _cholesky(matrices: Tensor) -> Tensor:
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrices)
    if bool(failed.any()):
        raise FitError(
            f"covariances that are not positive definite: {int((failed != 0).sum())}; increase eps, or check that the "
            "features are finite"
        )
    return factor


def _invert_lower(lower: Tensor) -> Tensor:
    """Inverse of lower triangular matrices (p, R, R), by halves: their products are faster than one large solve."""
    size = lower.shape[-1]
    if size <= _WHOLE_ROWS:
        eye = torch.eye(size, dtype=lower.dtype, device=lower.device).expand_as(lower)
        solved: Tensor = torch.linalg.solve_triangular(lower, eye, upper=False)
        return solved
    half = size // 2
    inverse = torch.zeros_like(lower, memory_format=torch.contiguous_format)
    upper_left, lower_right = _invert_lower(lower[:, :half, :half]), _invert_lower(lower[:, half:, half:])
    inverse[:, :half, :half], inverse[:, half:, half:] = upper_left, lower_right
    inverse[:, half:, :half] = (lower_right @ (lower[:, half:, :half] @ upper_left)).neg_()
    return inverse
