"""A multivariate Gaussian at every position of a feature map, learnt in one pass and constant memory.

PaDiM section III-B (arXiv 2011.08785): mean and covariance of the embedding at every position, the covariance
regularised by eps times the identity, the Mahalanobis distance as the measure of anomaly.

Statistics are a count, a mean and a scatter matrix per position, combined by the pairwise update of Chan, Golub and
LeVeque (1979), so that no cancellation occurs and parts fitted apart add up. With no more samples than channels the
centred samples themselves are kept instead of the scatter: fewer numbers, and the exact same Gaussian.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn

from offnormal.detectors.triangles import pack, packed_size, squared_lengths, unpack
from offnormal.errors import FitError, NotFittedError

_DEAD = 1e-4  # of the mean variance: the least that a channel is taken to vary, so that a dead one is no alarm
_PIECE = 64  # samples left out at once
_BLOCK_BYTES = 32 << 20  # of one block of position matrices: bounds temporaries, stays near the cache


class PositionGaussian(nn.Module):
    """One Gaussian per position of (D, H, W) feature maps.

    eps: variance added to every channel (paper: 0.01); with `relative` it is a share of the channel's variance at
    its mean over all positions, so that it means the same for features of any scale. Every position gets the same:
    what is quiet at one place keeps a floor that is known from the others. Computes in the precision of the first
    batch; precision: of the stored factors, that of the computation unless given (float16 or bfloat16 halve them).
    """

    count: Tensor  # () int64, number of samples
    grid: Tensor  # (2,) int64, (H, W)
    centre: Tensor | None  # (P, D), P = H * W
    ridge: Tensor | None  # (D,) variance added to every channel; z = (x - centre) / sqrt(ridge) below
    whitener: Tensor | None  # (P, T) packed upper triangles U (R, R): |z U|, or |z basis U|, is the distance
    basis: Tensor | None  # (P, D, R) orthonormal columns in the low-rank form, |z| outside them; None: R = D

    def __init__(self, eps: float = 0.01, *, relative: bool = False, precision: torch.dtype | None = None) -> None:
        super().__init__()
        self.eps = eps
        self.relative = relative
        self.precision = precision
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("grid", torch.zeros(2, dtype=torch.int64))
        for name in ("centre", "whitener", "basis", "ridge"):
            self.register_buffer(name, None)
        self._rows: list[Tensor] = []  # (P, n_i, D) raw samples while there are at most D of them
        self._scatter: Tensor | None = None  # (P, D, D) afterwards

    @property
    def is_finished(self) -> bool:
        """Whether distances can be asked for."""
        return self.whitener is not None

    @property
    def mean(self) -> Tensor:
        """(D, H, W) mean of the samples so far; NotFittedError before the first."""
        centre = self._mean()
        return centre.T.reshape(-1, *self.grid.tolist())

    def update(self, x: Tensor) -> None:
        """Add feature maps (N, D, H, W); FitError when their shape is not that of the maps before."""
        x = torch.as_tensor(x)
        if x.ndim != 4 or x.shape[0] == 0:
            raise FitError(f"features of shape {tuple(x.shape)}: expected (N, D, H, W) with N >= 1")
        self._accept(x.shape[2:], x.shape[1])
        rows = _positions_first(x)
        if self.count + len(x) <= x.shape[1] and self._scatter is None:
            self._rows.append(rows.contiguous())
            self.count += len(x)
            return
        self._to_scatter(rows)
        self._add_rows(rows)

    def merge(self, other: Self) -> None:
        """Add the statistics of another, unfinished one; the order of merging does not matter."""
        if other.count == 0:
            return
        other._require_statistics()
        self._accept(torch.Size(other.grid.tolist()), other._mean().shape[1])
        if other._scatter is None:
            for rows in other._rows:
                if self.count + rows.shape[1] <= rows.shape[2] and self._scatter is None:
                    self._rows.append(rows)
                    self.count += rows.shape[1]
                else:
                    self._to_scatter(rows)
                    self._add_rows(rows)
            return
        mean = other._mean()
        self._to_scatter(mean[:, None])
        assert self._scatter is not None and self.centre is not None
        self._scatter += other._scatter
        self._shift(mean, int(other.count))

    def without(self, part: Self) -> PositionGaussian:
        """What is left of these statistics when the samples of `part`, all contained in them, are taken out."""
        self._require_statistics()
        part._require_statistics()
        n, gone = int(self.count), int(part.count)
        rest = PositionGaussian(self.eps, relative=self.relative, precision=self.precision)
        rest.count, rest.grid = self.count - gone, self.grid.clone()
        whole_mean, part_mean = self._mean(), part._mean()
        if n - gone < 1:
            raise FitError(f"{gone} of {n} samples are to be left out: nothing would be left")
        rest.centre = whole_mean + (whole_mean - part_mean) * (gone / (n - gone))
        gap = (part_mean - rest.centre) * ((n - gone) * gone / n) ** 0.5
        rest._scatter = self._scatter_matrix() - part._scatter_matrix()
        for block in rest._blocks():
            rest._scatter[block] -= gap[block, :, None] * gap[block, None, :]
        return rest

    def pooled_moments(self) -> Tensor:
        """(D, D) float64 covariance of the features of all samples at all positions together; adds up like the rest."""
        mean = self._mean().double()
        centred = mean - mean.mean(0)
        inside = self._scatter_matrix().sum(0, dtype=torch.float64) / int(self.count)
        return (inside + centred.T @ centred) / len(mean)

    def project(self, directions: Tensor) -> None:
        """Replace the features by their coordinates along `directions` (D, d); before `finish`."""
        self._require_statistics()
        if self._rows:
            self._rows = [rows @ directions for rows in self._rows]
        else:
            assert self._scatter is not None and self.centre is not None
            self._scatter = torch.cat([directions.T @ self._scatter[b] @ directions for b in self._blocks()])
            self.centre = self.centre @ directions

    def covariance(self) -> Tensor:
        """(H * W, D, D) regularised covariance of every position, eps included."""
        if self.whitener is None:
            ridge = self._ridge()
            return torch.cat([self._regularised(block, ridge) for block in self._blocks()])
        assert self.ridge is not None
        scale = self.ridge.sqrt()
        size = len(scale) if self.basis is None else self.basis.shape[2]
        factor: Tensor = torch.linalg.inv(unpack(self.whitener.to(scale.dtype), size).mT)  # lower triangular
        scaled = factor @ factor.mT
        if self.basis is not None:
            basis = self.basis.to(scale.dtype)
            scaled = basis @ (scaled - torch.eye(size).to(scaled)) @ basis.mT + torch.eye(len(scale)).to(scaled)
        return scale[:, None] * scaled * scale

    def finish(self, *, keep: bool = False) -> None:
        """Factorise; the statistics are dropped unless `keep`.

        Raises FitError with fewer than two samples, which have no covariance, and for features that are not finite.
        """
        self._require_statistics()
        if self.count < 2:
            raise FitError(f"{int(self.count)} sample(s): at least 2 normal samples are needed for a covariance")
        centre = self._mean()
        if not bool(torch.isfinite(centre).all()):
            raise FitError("the features hold NaN or infinite values: check the weights of the backbone")
        self.ridge = self._ridge()
        kept = self.precision or centre.dtype
        if self._scatter is None:
            basis, upper = self._low_rank(self.ridge, degrees=int(self.count) - 1)
            self.basis, self.whitener = basis.to(kept).contiguous(), pack(upper).to(kept)
        else:
            positions, channels = centre.shape
            self.basis = None
            self.whitener = centre.new_empty(positions, packed_size(channels), dtype=kept)
            scale = self.ridge.sqrt()
            for block in self._blocks():
                self.whitener[block] = pack(_whitener(self._regularised(block, self.ridge) / scale[:, None] / scale))
        self.centre = centre
        if not keep:
            self._rows, self._scatter = [], None

    def mahalanobis(self, x: Tensor) -> Tensor:
        """Distances (N, H, W) of feature maps (N, D, H, W), in standard deviations; higher = more anomalous.

        Raises NotFittedError before `finish`.
        """
        if self.whitener is None or self.centre is None or self.ridge is None:
            raise NotFittedError("the Gaussian has no factor yet: call update with normal samples, then finish")
        x = torch.as_tensor(x)
        z = (_positions_first(x.to(self.centre.dtype)) - self.centre[:, None]) * self.ridge.rsqrt()  # (P, N, D)
        squared = squared_lengths(z, self.whitener) if self.basis is None else self._low_rank_lengths(z)
        return squared.sqrt_().T.reshape(len(x), *x.shape[2:])

    def _low_rank_lengths(self, z: Tensor) -> Tensor:
        """Squared distances (P, N): inside the basis by the factor, outside it plain."""
        assert self.basis is not None and self.whitener is not None
        squared = z.new_empty(z.shape[:2])
        for block in self._blocks():
            basis = self.basis[block].to(z.dtype)
            inside = torch.bmm(z[block], basis)
            outside = torch.baddbmm(z[block], inside, basis.mT, alpha=-1)
            squared[block] = squared_lengths(inside, self.whitener[block]) + outside.square_().sum(-1)
        return squared

    def leave_one_out(self, x: Tensor) -> Tensor:
        """Distances (N, H, W) of training samples (N, D, H, W), each from the Gaussian of all the others.

        Closed form: with z = x - mean, A the covariance of the others plus what z adds to it, q = z' A^-1 z and
        b = n / ((n - 1) (n - 2)):  d^2 = (n / (n - 1))^2 q / (1 - b q)  (Sherman and Morrison).
        Exact; with a relative eps, but for the sample's own part in the mean variance.
        Raises FitError with fewer than three samples.
        """
        self._require_statistics()
        n = int(self.count)
        if n < 3:
            raise FitError(f"{n} samples: at least 3 are needed to leave one out")
        x = torch.as_tensor(x)
        mean = self._mean()
        precise = torch.float64 if n < 4 * mean.shape[1] else mean.dtype  # leverages near 1 cancel
        squared = mean.new_empty(len(mean), len(x))
        ridge = self._ridge()
        low_rank = self._low_rank(ridge, degrees=n - 2) if self._scatter is None else None
        for block in self._blocks():
            if low_rank is not None:
                basis, whitener = (part[block].to(precise) for part in low_rank)
                whitener = basis / ridge.sqrt().to(precise)[:, None] @ whitener
            else:
                whitener = _whitener(self._regularised(block, ridge, degrees=n - 2).to(precise))
            for start in range(0, len(x), _PIECE):
                piece = slice(start, start + _PIECE)
                rows = x[piece].flatten(2)[:, :, block].permute(2, 0, 1)  # (p, N, D); x may be kept in half precision
                z = rows.to(precise) - mean[block, None].to(precise)
                q = torch.bmm(z, whitener).square_().sum(-1)
                leverage = n / ((n - 1) * (n - 2)) * q
                left_out = (n / (n - 1)) ** 2 * q / (1 - leverage).clamp(min=1e-9)
                squared[block, piece] = left_out.to(squared.dtype)
        return squared.sqrt_().T.reshape(len(x), *x.shape[2:])

    # --- statistics -----------------------------------------------------------------------------------------

    def _accept(self, grid: torch.Size, channels: int) -> None:
        if self.count == 0:
            self.grid = torch.tensor(list(grid), dtype=torch.int64)
            return
        self._require_statistics()
        known = (self._mean().shape[1], *self.grid.tolist())
        if (channels, *grid) != known:
            raise FitError(f"features of (D, H, W) = {(channels, *grid)}: those before were {known}")

    def _require_statistics(self) -> None:
        if self.count == 0:
            raise NotFittedError("no sample has been seen: call update with normal samples first")
        if self._scatter is None and not self._rows:
            raise NotFittedError("the statistics were dropped by finish; use finish(keep=True) to go on learning")

    def _mean(self) -> Tensor:
        if self._rows:
            return torch.cat(self._rows, 1).mean(1)
        if self.centre is None:
            raise NotFittedError("no sample has been seen: call update with normal samples first")
        return self.centre

    def _to_scatter(self, like: Tensor) -> None:
        """Leave the form of kept samples; `like` (P, n, D) gives sizes and precision when there are none yet."""
        if self._scatter is not None:
            return
        rows, self._rows = self._rows, []
        positions, _, channels = like.shape
        self._scatter = like.new_zeros(positions, channels, channels)
        self.centre = like.new_zeros(positions, channels)
        self.count = torch.zeros_like(self.count)
        for kept in rows:
            self._add_rows(kept)

    def _add_rows(self, rows: Tensor) -> None:
        """Pairwise update with samples (P, n, D)."""
        assert self._scatter is not None
        mean = rows.mean(1)
        for block in self._blocks():
            centred = rows[block] - mean[block, None]
            torch.baddbmm(self._scatter[block], centred.mT, centred, out=self._scatter[block])
        self._shift(mean, rows.shape[1])

    def _shift(self, mean: Tensor, added: int) -> None:
        """The part of the pairwise update that joins two means: count, mean and the rank-one term."""
        assert self._scatter is not None and self.centre is not None
        n = int(self.count)
        gap = mean - self.centre
        if n:
            weight = n * added / (n + added)
            for block in self._blocks():
                part = gap[block]
                self._scatter[block].addcmul_(part[:, :, None], part[:, None, :], value=weight)
        self.centre = self.centre + gap * (added / (n + added))
        self.count = self.count + added

    def _scatter_matrix(self) -> Tensor:
        if self._scatter is not None:
            return self._scatter
        centred = torch.cat(self._rows, 1) - self._mean()[:, None]
        return centred.mT @ centred

    def _blocks(self) -> Iterator[slice]:
        positions, channels = self._mean().shape
        step = max(1, _BLOCK_BYTES // (channels * channels * 8))
        return (slice(start, min(start + step, positions)) for start in range(0, positions, step))

    def _ridge(self) -> Tensor:
        """(D,) variance added to every channel."""
        mean = self._mean()
        if not self.relative:
            return mean.new_full(mean.shape[1:], self.eps)
        if self._scatter is not None:
            variance = self._scatter.diagonal(dim1=1, dim2=2).mean(0) / max(1, int(self.count) - 1)
        else:
            variance = torch.cat(self._rows, 1).var(1).mean(0)
        if not float(variance.mean()) > 1e-12 * float(mean.square().mean()):
            raise FitError("the normal images are all the same: what varies cannot be learnt; give others too")
        floor = _DEAD * variance.mean() + torch.finfo(variance.dtype).tiny
        return self.eps * variance.clamp(min=float(floor))

    def _regularised(self, block: slice, ridge: Tensor, degrees: int | None = None) -> Tensor:
        """(p, D, D) covariance of a block of positions with the ridge; degrees: of freedom, n - 1 unless given."""
        if self._scatter is not None:
            scatter = self._scatter[block]
        else:
            centred = torch.cat([rows[block] for rows in self._rows], 1) - self._mean()[block, None]
            scatter = centred.mT @ centred
        covariance = scatter / (degrees or int(self.count) - 1)
        covariance.diagonal(dim1=1, dim2=2).add_(ridge)
        return covariance

    def _low_rank(self, ridge: Tensor, degrees: int) -> tuple[Tensor, Tensor]:
        """Basis (P, D, n) of the centred samples over sqrt(ridge), whitener (P, n, n) of the covariance inside it.

        In these units the ridge is the identity, so that outside the basis the covariance is the identity too.
        """
        samples = torch.cat(self._rows, 1)
        samples = (samples - samples.mean(1, keepdim=True)) / ridge.sqrt()
        basis, coordinates = torch.linalg.qr(samples.mT)  # (P, D, n), (P, n, n): samples' = basis @ coordinates
        inside = coordinates @ coordinates.mT / degrees
        inside.diagonal(dim1=1, dim2=2).add_(1)
        return basis, _whitener(inside)


def _positions_first(x: Tensor) -> Tensor:
    """(N, D, H, W) -> (H * W, N, D)."""
    return x.flatten(2).permute(2, 0, 1)


def _cholesky(matrices: Tensor) -> Tensor:
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrices)
    if bool(failed.any()):
        raise FitError(
            f"the covariance of {int((failed != 0).sum())} positions is not positive definite: raise eps, or check "
            "that the features are finite"
        )
    return factor


def _whitener(covariances: Tensor) -> Tensor:
    """(p, R, R) -> upper triangular W with W W' = covariance^-1, by a triangular solve against the identity."""
    factor = _cholesky(covariances)
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device).expand_as(factor)
    inverse: Tensor = torch.linalg.solve_triangular(factor, eye, upper=False)
    return inverse.mT
