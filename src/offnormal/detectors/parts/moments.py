"""Count, mean, and scatter of feature maps at every position: statistics that add up; nothing is solved here.

Combined with the pairwise update of Chan, Golub, and LeVeque (1979), so that no cancellation occurs and statistics
gathered separately can be merged. While there are few samples, the samples are stored instead of the scatter matrices:
the moments are exactly the same, and a scatter matrix is then one product over all samples instead of one per batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from offnormal.detectors.parts.maps import samples_first
from offnormal.errors import FitError, NotFittedError

_ROWS_PER_CHANNEL = 1.5  # most stored samples per channel; they take about as much as the scatter matrices
_BLOCK_BYTES = 32 << 20  # of one block of position matrices: bounds temporaries, stays near the cache


class PositionMoments:
    """Moments of (D, H, W) feature maps; P = H * W positions.

    rows_in_half: store samples less the mean of the first batch in float16, which halves memory for many positions.
    """

    def __init__(self, *, rows_in_half: bool = False) -> None:
        self.rows_in_half = rows_in_half
        self.count = 0
        self.grid = (0, 0)
        self.channels = 0
        self._dtype = torch.float32
        self._shift: Tensor | None = None  # (P, D) subtracted from the rows below
        self._rows: list[Tensor] = []  # (P, n_i, D) samples, while there are few
        self._scatter: Tensor | None = None  # (P, D, D) later
        self._center: Tensor | None = None  # (P, D) mean that belongs to the scatter

    @property
    def has_rows(self) -> bool:
        """Whether the samples themselves are stored."""
        return self._scatter is None

    def require_samples(self) -> None:
        """Raise NotFittedError before the first sample."""
        if self.count == 0:
            raise NotFittedError("there are no samples yet: call update with normal samples first")

    def update(self, x: Tensor) -> None:
        """Add feature maps (N, D, H, W); FitError if their shape differs from the maps before."""
        if x.ndim != 4 or x.shape[0] == 0:
            raise FitError(f"features of shape {tuple(x.shape)}: expected (N, D, H, W) with N >= 1")
        self._check_shape((x.shape[2], x.shape[3]), x.shape[1], x.dtype)
        self._add(samples_first(x))

    def merge(self, other: Self) -> None:
        """Add other moments; the order of merging does not matter."""
        if other.count == 0:
            return
        self._check_shape(other.grid, other.channels, other._dtype)
        if other._scatter is None:
            assert other._shift is not None
            for rows in other._rows:
                self._add(rows.to(self._dtype).transpose(0, 1) + other._shift)
            return
        assert other._center is not None
        self.to_scatter()
        if self._scatter is None:
            self._start_scatter(other._center)
        assert self._scatter is not None
        self._scatter += other._scatter
        self._join_means(other._center, other.count)

    def without(self, part: Self) -> PositionMoments:
        """Create moments without the samples of `part`, which must be contained in these."""
        self.require_samples()
        part.require_samples()
        remaining = self.count - part.count
        if remaining < 1:
            raise FitError(f"cannot remove {part.count} of {self.count} samples: at least one must remain")
        result = PositionMoments()
        result.count, result.grid, result.channels, result._dtype = remaining, self.grid, self.channels, self._dtype
        mean, removed_mean = self.mean(), part.mean()
        result._center = mean + (mean - removed_mean) * (part.count / remaining)
        gap = (removed_mean - result._center) * (remaining * part.count / self.count) ** 0.5
        result._scatter = mean.new_empty(len(mean), self.channels, self.channels)
        for block in self.blocks():
            removed = part.scatter(block).baddbmm(gap[block, :, None], gap[block, None, :])
            torch.sub(self.scatter(block), removed, out=result._scatter[block])
        return result

    def mean(self) -> Tensor:
        """(P, D) mean of the samples."""
        self.require_samples()
        if self._center is not None:
            return self._center
        assert self._shift is not None
        total = torch.zeros_like(self._shift)
        for rows in self._rows:
            total += rows.sum(1, dtype=self._dtype)
        return self._shift + total / self.count

    def centered(self, block: slice) -> Tensor:
        """(p, n, D) samples less their mean, at a block of positions; only with `has_rows`."""
        assert self._shift is not None
        samples = torch.cat([rows[block] for rows in self._rows], 1).to(self._dtype)
        return samples.sub_(samples.mean(1, keepdim=True))

    def scatter(self, block: slice) -> Tensor:
        """(p, D, D) sums of outer products of the samples less their mean."""
        if self._scatter is not None:
            return self._scatter[block]
        centered = self.centered(block)
        return centered.mT @ centered

    def to_scatter(self) -> None:
        """Replace stored samples with their scatter matrices, one product each; the moments do not change."""
        if self._scatter is not None or self.count == 0:
            return
        mean = self.mean()
        scatter = mean.new_empty(len(mean), self.channels, self.channels)
        for block in self.blocks():
            scatter[block] = self.scatter(block)
        self._scatter, self._center, self._rows, self._shift = scatter, mean, [], None

    def variance(self) -> Tensor:
        """(D,) variance of every channel, averaged over all positions."""
        total = torch.zeros(self.channels, dtype=self._dtype, device=self.mean().device)
        for block in self.blocks():
            if self._scatter is not None:
                total += self._scatter[block].diagonal(dim1=1, dim2=2).sum(0)
            else:
                total += self.centered(block).square_().sum((0, 1))
        return total / (max(1, self.count - 1) * self.grid[0] * self.grid[1])

    def pooled(self) -> Tensor:
        """(D, D) float64 covariance of the features of all samples at all positions together."""
        mean = self.mean().double()
        centered = mean - mean.mean(0)
        inside = sum(self.scatter(block).sum(0, dtype=torch.float64) for block in self.blocks()) / self.count
        return torch.as_tensor((inside + centered.T @ centered) / len(mean))

    def project(self, directions: Tensor) -> None:
        """Replace the features with their coordinates along `directions` (D, d)."""
        self.require_samples()
        if self._scatter is None:
            assert self._shift is not None
            self._rows = [(rows.to(directions.dtype) @ directions).to(rows.dtype) for rows in self._rows]
            self._shift = self._shift @ directions
        else:
            assert self._center is not None
            self._scatter = torch.cat([directions.T @ self._scatter[b] @ directions for b in self.blocks()])
            self._center = self._center @ directions
        self.channels = directions.shape[1]

    def blocks(self) -> Iterator[slice]:
        """Slices of positions small enough that their (p, D, D) matrices stay near the cache."""
        positions, size = self.grid[0] * self.grid[1], self.channels
        step = max(1, _BLOCK_BYTES // (size * size * 8))
        return (slice(start, min(start + step, positions)) for start in range(0, positions, step))

    # --- updates ---------------------------------------------------------------------------------------------

    def _check_shape(self, grid: tuple[int, int], channels: int, dtype: torch.dtype) -> None:
        if self.count == 0:
            self.grid, self.channels, self._dtype = grid, channels, dtype
        elif (channels, *grid) != (self.channels, *self.grid):
            raise FitError(
                f"features of (D, H, W) = {(channels, *grid)}: expected {(self.channels, *self.grid)}, as before"
            )

    def _add(self, rows: Tensor) -> None:
        """Add samples (n, P, D)."""
        if self._scatter is None and self.count + len(rows) <= _ROWS_PER_CHANNEL * self.channels:
            if self._shift is None:
                self._shift = rows.mean(0)
            dtype = torch.float16 if self.rows_in_half and rows.dtype == torch.float32 else rows.dtype
            piece = rows.new_empty(rows.shape[1], len(rows), rows.shape[2], dtype=dtype)
            self._rows.append(torch.sub(rows, self._shift, out=piece.transpose(0, 1)).transpose(0, 1))
            self.count += len(rows)
            return
        if self._scatter is None:
            if self.count:
                self.to_scatter()
            else:
                self._start_scatter(rows[0])
        self._add_to_scatter(rows)

    def _start_scatter(self, like: Tensor) -> None:
        """Start without samples; `like` (P, D) determines sizes and precision."""
        self._scatter = like.new_zeros(*like.shape, like.shape[1])
        self._center = torch.zeros_like(like)

    def _add_to_scatter(self, rows: Tensor) -> None:
        """Pairwise update with samples (n, P, D)."""
        assert self._scatter is not None
        mean = rows.mean(0)
        for block in self.blocks():
            centered = (rows[:, block] - mean[block]).transpose(0, 1).contiguous()  # (p, n, D)
            torch.baddbmm(self._scatter[block], centered.mT, centered, out=self._scatter[block])
        self._join_means(mean, len(rows))

    def _join_means(self, mean: Tensor, added: int) -> None:
        """Join two means in the pairwise update: count, mean, and the rank-one term."""
        assert self._scatter is not None and self._center is not None
        gap = mean - self._center
        total = self.count + added
        if self.count:
            weight = self.count * added / total
            for block in self.blocks():
                part = gap[block]
                self._scatter[block].addcmul_(part[:, :, None], part[:, None, :], value=weight)
        self._center = self._center + gap * (added / total)
        self.count = total
