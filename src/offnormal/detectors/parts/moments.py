"""Count, mean and scatter of feature maps at every position: what adds up, and nothing that must be solved.

Combined by the pairwise update of Chan, Golub and LeVeque (1979), so that no cancellation occurs and parts gathered
apart add up. Few samples are kept themselves instead of the scatter matrices: exactly the same moments, and a scatter
matrix is then one product over all samples, where adding batch after batch would move every matrix each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from offnormal.detectors.parts.maps import samples_first
from offnormal.errors import FitError, NotFittedError

_ROWS_PER_CHANNEL = 1.5  # samples kept at most: what they take beside the scatter matrices
_BLOCK_BYTES = 32 << 20  # of one block of position matrices: bounds temporaries, stays near the cache


class PositionMoments:
    """Moments of (D, H, W) feature maps; P = H * W positions.

    rows_in_half: keep samples less their first batch's mean in float16, which halves what many positions need.
    """

    def __init__(self, *, rows_in_half: bool = False) -> None:
        self.rows_in_half = rows_in_half
        self.count = 0
        self.grid = (0, 0)
        self.channels = 0
        self._dtype = torch.float32
        self._shift: Tensor | None = None  # (P, D) taken from the rows below
        self._rows: list[Tensor] = []  # (P, n_i, D) samples while there are few
        self._scatter: Tensor | None = None  # (P, D, D) afterwards
        self._center: Tensor | None = None  # (P, D) mean that belongs to it

    @property
    def has_rows(self) -> bool:
        """Whether the samples themselves are kept."""
        return self._scatter is None

    def require_samples(self) -> None:
        """NotFittedError before the first sample."""
        if self.count == 0:
            raise NotFittedError("no sample has been seen: call update with normal samples first")

    def update(self, x: Tensor) -> None:
        """Add feature maps (N, D, H, W); FitError when their shape is not that of the maps before."""
        if x.ndim != 4 or x.shape[0] == 0:
            raise FitError(f"features of shape {tuple(x.shape)}: expected (N, D, H, W) with N >= 1")
        self._accept((x.shape[2], x.shape[3]), x.shape[1], x.dtype)
        self._add(samples_first(x))

    def merge(self, other: Self) -> None:
        """Add other moments; the order of merging does not matter."""
        if other.count == 0:
            return
        self._accept(other.grid, other.channels, other._dtype)
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
        self._join(other._center, other.count)

    def without(self, part: Self) -> PositionMoments:
        """What is left when the samples of `part`, all contained in these, are taken out."""
        self.require_samples()
        part.require_samples()
        left = self.count - part.count
        if left < 1:
            raise FitError(f"{part.count} of {self.count} samples are to be left out: nothing would be left")
        rest = PositionMoments()
        rest.count, rest.grid, rest.channels, rest._dtype = left, self.grid, self.channels, self._dtype
        mean, gone = self.mean(), part.mean()
        rest._center = mean + (mean - gone) * (part.count / left)
        gap = (gone - rest._center) * (left * part.count / self.count) ** 0.5
        rest._scatter = mean.new_empty(len(mean), self.channels, self.channels)
        for block in self.blocks():
            taken = part.scatter(block).baddbmm(gap[block, :, None], gap[block, None, :])
            torch.sub(self.scatter(block), taken, out=rest._scatter[block])
        return rest

    def mean(self) -> Tensor:
        """(P, D)."""
        self.require_samples()
        if self._center is not None:
            return self._center
        assert self._shift is not None
        total = torch.zeros_like(self._shift)
        for rows in self._rows:
            total += rows.sum(1, dtype=self._dtype)
        return self._shift + total / self.count

    def centered(self, block: slice) -> Tensor:
        """(p, n, D) samples less their mean at a block of positions; only with `has_rows`."""
        assert self._shift is not None
        rows = torch.cat([kept[block] for kept in self._rows], 1).to(self._dtype)
        return rows.sub_(rows.mean(1, keepdim=True))

    def scatter(self, block: slice) -> Tensor:
        """(p, D, D) sums of outer products of what is left of samples less their mean."""
        if self._scatter is not None:
            return self._scatter[block]
        centered = self.centered(block)
        return centered.mT @ centered

    def to_scatter(self) -> None:
        """Replace kept samples by their scatter matrices, each one product over all of them; nothing else changes."""
        if self._scatter is not None or self.count == 0:
            return
        mean = self.mean()
        scatter = mean.new_empty(len(mean), self.channels, self.channels)
        for block in self.blocks():
            scatter[block] = self.scatter(block)
        self._scatter, self._center, self._rows, self._shift = scatter, mean, [], None

    def variance(self) -> Tensor:
        """(D,) variance of every channel, its mean over all positions."""
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
        """Replace the features by their coordinates along `directions` (D, d)."""
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
        """Slices of positions so small that their (p, D, D) matrices stay near the cache."""
        positions, size = self.grid[0] * self.grid[1], self.channels
        step = max(1, _BLOCK_BYTES // (size * size * 8))
        return (slice(start, min(start + step, positions)) for start in range(0, positions, step))

    # --- gathering ------------------------------------------------------------------------------------------

    def _accept(self, grid: tuple[int, int], channels: int, dtype: torch.dtype) -> None:
        if self.count == 0:
            self.grid, self.channels, self._dtype = grid, channels, dtype
        elif (channels, *grid) != (self.channels, *self.grid):
            raise FitError(
                f"features of (D, H, W) = {(channels, *grid)}: those before were {(self.channels, *self.grid)}"
            )

    def _add(self, rows: Tensor) -> None:
        """Samples (n, P, D)."""
        if self._scatter is None and self.count + len(rows) <= _ROWS_PER_CHANNEL * self.channels:
            if self._shift is None:
                self._shift = rows.mean(0)
            kept = torch.float16 if self.rows_in_half and rows.dtype == torch.float32 else rows.dtype
            piece = rows.new_empty(rows.shape[1], len(rows), rows.shape[2], dtype=kept)
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
        """No sample yet; `like` (P, D) gives sizes and precision."""
        self._scatter = like.new_zeros(*like.shape, like.shape[1])
        self._center = torch.zeros_like(like)

    def _add_to_scatter(self, rows: Tensor) -> None:
        """Pairwise update with samples (n, P, D)."""
        assert self._scatter is not None
        mean = rows.mean(0)
        for block in self.blocks():
            centered = (rows[:, block] - mean[block]).transpose(0, 1).contiguous()  # (p, n, D)
            torch.baddbmm(self._scatter[block], centered.mT, centered, out=self._scatter[block])
        self._join(mean, len(rows))

    def _join(self, mean: Tensor, added: int) -> None:
        """The part of the pairwise update that joins two means: count, mean and the rank-one term."""
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
